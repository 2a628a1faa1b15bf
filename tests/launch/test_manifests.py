"""The objects of a job: as the golden files have them, as kubectl reads them, and as the rules ask."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from retort.launch.job import Job, load_job
from retort.launch.manifests import Operator, objects, to_yaml
from retort.launch.rules.check import check
from retort.launch.rules.documents import parse
from retort.launch.rules.schemas import Schemas
from tools.python.wheel_programs import wheel_program

CHECKOUT = Path(__file__).resolve().parents[2]
JOBS = CHECKOUT / "tests/launch/jobs"
OPERATORS: tuple[Operator, ...] = ("v1", "v2")
THERE = [
    "persistentvolumeclaim/news",
    "persistentvolumeclaim/runs",
    "secret/tracking",
]
COMMAND = (
    "./tools/bazel run //launch:render -- tests/launch/jobs/{0}.yaml --operator {1} "
    "> tests/launch/golden/{0}.{1}.yaml"
)


def _job(name: str) -> Job:
    return load_job(JOBS / f"{name}.yaml", [], CHECKOUT)


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("name", ["plain", "full"])
def test_a_job_becomes_what_the_golden_file_has(name: str, operator: Operator) -> None:
    golden = CHECKOUT / f"tests/launch/golden/{name}.{operator}.yaml"
    rendered = to_yaml(objects(_job(name), operator))
    assert rendered == golden.read_text(), f"if meant: {COMMAND.format(name, operator)}"


@pytest.mark.parametrize("operator", OPERATORS)
def test_kubectl_reads_the_values_that_were_meant(tmp_path: Path, operator: Operator) -> None:
    found = objects(_job("full"), operator)
    (tmp_path / "all.yaml").write_text(to_yaml(found))
    (tmp_path / "kustomization.yaml").write_text("resources: [all.yaml]\n")
    rendered = subprocess.run(
        [wheel_program("kubectl"), "kustomize", tmp_path], stdout=subprocess.PIPE, check=True
    ).stdout
    by_kind = {one["kind"]: one for one in yaml.safe_load_all(rendered)}
    assert by_kind == {one["kind"]: one for one in found}


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("name", ["plain", "full"])
def test_the_rules_find_nothing_in_what_is_rendered(name: str, operator: Operator) -> None:
    applied = parse(to_yaml(objects(_job(name), operator)), name)
    assert applied.documents
    schemas = Schemas(None)
    assert all(map(schemas.knows, applied.documents))
    assert list(map(str, check(applied, schemas, THERE))) == []


def _pod(job: Job, operator: Operator) -> dict[str, Any]:
    found: Any = objects(job, operator)
    if operator == "v1":
        spec = found[-1]["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]["spec"]
    else:
        (replicated,) = found[-2]["spec"]["template"]["spec"]["replicatedJobs"]
        spec = replicated["template"]["spec"]["template"]["spec"]
    return dict(spec)


def test_both_operators_start_the_same_pods() -> None:
    job = _job("full")
    first, second = _pod(job, "v1"), _pod(job, "v2")
    assert second.pop("restartPolicy") == "Never"
    for pod in (first, second):
        (container,) = pod["containers"]
        assert container.pop("name") in ("pytorch", "node")
        place = container["args"].index("--rdzv-endpoint")
        assert container["args"].pop(place + 1).startswith("$(PET_")
    assert first == second


def test_another_recipe_is_another_config_map(tmp_path: Path) -> None:
    text = (JOBS / "recipe.yaml").read_text()
    names = set()
    for number, steps in enumerate((100, 101)):
        recipe = tmp_path / f"{number}" / "recipe.yaml"
        recipe.parent.mkdir()
        recipe.write_text(text.replace("steps: 100", f"steps: {steps}"))
        job = load_job(JOBS / "plain.yaml", [f"recipe={recipe}"], tmp_path)
        (found,) = [one for one in objects(job) if one["kind"] == "ConfigMap"]
        assert found["immutable"] is True
        names.add(found["metadata"]["name"])
    assert len(names) == 2


def test_only_a_queued_job_is_suspended() -> None:
    for overrides, suspended in (([], False), (["queue=gold"], True)):
        job = load_job(JOBS / "plain.yaml", overrides, CHECKOUT)
        for operator in OPERATORS:
            found: Any = objects(job, operator)[-1]
            spec = found["spec"]
            assert spec.get("runPolicy", spec).get("suspend", False) is suspended
            labelled = "kueue.x-k8s.io/queue-name" in found["metadata"]["labels"]
            assert labelled is suspended
