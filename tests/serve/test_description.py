"""The description of the interface holds: requests drawn from it are answered as it says, and generators take it."""

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.processes.forks import fork_server_for
from tests.serve.running import ServerProcess

pytest_plugins = ["tests.serve.fixtures"]
forks = fork_server_for("retort.serve.main", "retort.serve.engine.model_process")

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


def test_what_is_drawn_from_the_description_is_answered_as_it_says(server: ServerProcess) -> None:
    described: Any = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    operations = [found.ok() for found in described.get_all_operations()]
    assert len(operations) == 17
    for operation in operations:
        check_drawn(operation, GenerationMode.POSITIVE)
        if operation.body and operation.path != "/":  # any form is one
            check_drawn(operation, GenerationMode.NEGATIVE)


def check_drawn(operation: Any, mode: GenerationMode) -> None:
    """Of what the description allows, or of what it does not: the same in each run of the same code."""

    @settings(
        max_examples=40,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case: Any) -> None:
        case.call_and_validate(checks=CHECKS, timeout=600)

    check()


def test_a_generator_makes_classes_that_read_answers(client: httpx.Client, tmp_path: Path) -> None:
    schema, made = tmp_path / "openapi.json", tmp_path / "made.py"
    schema.write_text(client.get("/openapi.json").text, encoding="utf-8")
    command = [sys.executable, "-m", "datamodel_code_generator", "--input", str(schema)]
    options = ["--output-model-type", "pydantic_v2.BaseModel", "--output", str(made)]
    ended = subprocess.run(
        [*command, "--input-file-type", "openapi", *options],
        check=False,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    classes = ModuleType("made")
    sys.modules["made"] = classes
    exec(compile(made.read_text(encoding="utf-8"), str(made), "exec"), vars(classes))
    asked = classes.PredictionRequest(text="shares rose")
    answer = client.post(
        "/predict", content=asked.model_dump_json(), headers={"content-type": "application/json"}
    )
    read = classes.PredictionResponse.model_validate_json(answer.content)
    assert {"label": read.label, "confidence": read.confidence} == answer.json()
    several = {"instances": [{"text": "a"}, {"text": " "}]}
    each = client.post("/v1/predict", json=several)
    first, second = classes.InstancesResponse.model_validate_json(each.content).predictions
    assert first.class_
    assert second.error.status == 422
    tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["a"]}
    inferred = client.post("/v2/models/classifier/infer", json={"inputs": [tensor]})
    outputs = classes.InferenceResponse.model_validate_json(inferred.content).outputs
    assert [one.name for one in outputs] == ["label", "probability", "probabilities", "truncated"]
    problem = client.post("/predict", content=json.dumps({"text": ""}))
    assert classes.ProblemDetails.model_validate_json(problem.content).status == 415
