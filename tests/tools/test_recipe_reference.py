"""The page of recipes and the schemas for editors: fresh, whole, and of one opinion with the classes."""

import json
import pathlib
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from pydantic import ValidationError

from retort.core.config import Frozen, load_recipe, read_values
from retort.data.preparation.recipe import PreparationRecipe
from retort.launch.job import JobConfig
from retort.train.recipe import TrainingRecipe
from tools.docs import recipe as reference

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
_SCHEMAS: dict[type[Frozen], pathlib.Path] = {
    TrainingRecipe: CHECKOUT / "docs/recipe.schema.json",
    PreparationRecipe: CHECKOUT / "docs/data_recipe.schema.json",
    JobConfig: CHECKOUT / "docs/job.schema.json",
}
_RECIPES = {
    str(path.relative_to(CHECKOUT)): model
    for pattern, model in (
        ("python/retort/train/recipes/*.yaml", TrainingRecipe),
        ("python/retort/data/recipes/*.yaml", PreparationRecipe),
        ("examples/*/recipe.yaml", TrainingRecipe),
        ("k8s/base/recipe.yaml", TrainingRecipe),
        ("tests/launch/jobs/recipe.yaml", TrainingRecipe),
        ("tests/launch/jobs/[!r]*.yaml", JobConfig),
    )
    for path in sorted(CHECKOUT.glob(pattern))
}


def _problems(model: type[Frozen], values: Any) -> list[Any]:
    schema = json.loads(_SCHEMAS[model].read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return list(jsonschema.Draft202012Validator(schema).iter_errors(values))


@pytest.mark.parametrize("path", reference.outputs())
def test_the_reference_is_what_the_classes_say(path: str) -> None:
    written = (CHECKOUT / path).read_text(encoding="utf-8")
    assert written == reference.outputs()[path], f"out of date; write it anew: {reference.COMMAND}"


@pytest.mark.parametrize("model", _SCHEMAS)
def test_every_key_says_what_it_is(model: type[Frozen]) -> None:
    for path, kind in reference.sections(model):
        sections = {inner for inner, _ in reference.sections(kind)}
        silent = set(kind.model_fields) - set(reference.docstrings(kind)) - sections
        assert not silent, f"{path}: give these keys of {kind.__name__} a docstring: {silent}"
        assert kind.__doc__, path


@pytest.mark.parametrize("path", _RECIPES)
def test_a_recipe_of_ours_is_valid_and_leads_editors_to_its_schema(path: str) -> None:
    file, model = CHECKOUT / path, _RECIPES[path]
    first = file.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith(reference.MODELINE)
    schema = file.parent / first.removeprefix(reference.MODELINE)
    assert schema.resolve() == _SCHEMAS[model]
    assert _problems(model, read_values(file)) == []
    resolved = load_recipe(model, file, [], CHECKOUT).config.model_dump(mode="json")
    assert _problems(model, resolved) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("optimizer.learning_rate", 1),
        ("optimizer", {}),
        ("optimizer.lr", 0),
        ("optimizer.lr", 1e39),
        ("optimizer.lr", "fast"),
        ("optimizer.betas", [0.9, 1.0]),
        ("optimizer.betas", [0.9]),
        ("train.steps", 0),
        ("train.steps", 1.5),
        ("train.shards", 5000),
        ("train.threads", None),
        ("data.source", "bbc"),
        ("data.source", {"hub": "owner/name", "revision": "main"}),
        ("data.source", {"hub": "owner/name"}),
        ("data.held_out", 1),
        ("data.labels", "sport"),
        ("data.files", {"paths": []}),
        ("schedule.decay", "exponential"),
        ("schedule", None),
        ("evaluate.min_accuracy", 88),
        ("model.weights.hub", "owner/name@main"),
        ("deepspeed", {"zero_stage": 4}),
        ("logging.tensorboard", "maybe"),
        ("unknown", {}),
    ],
)
def test_the_schema_refuses_what_the_classes_refuse_of_one_key(key: str, value: Any) -> None:
    values = read_values(CHECKOUT / "python/retort/train/recipes/smoke.yaml")
    assert _problems(TrainingRecipe, values) == []
    *outer, last = key.split(".")
    inner = values
    for part in outer:
        inner = inner.setdefault(part, {})
    inner[last] = value
    with pytest.raises(ValidationError):
        TrainingRecipe.model_validate(values)
    assert _problems(TrainingRecipe, values)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "News"),
        ("name", "n" * 53),
        ("image", ""),
        ("nodes", 0),
        ("gpus", 1.5),
        ("cpu", 0),
        ("cpu", "lots"),
        ("memory", "4GB"),
        ("runs", {}),
        ("runs", {"claim": "My_Runs"}),
        ("runs", {"claim": "runs", "access": "ReadWriteAll"}),
        ("grace", 120),
        ("grace", "2 minutes"),
        ("deadline", ""),
        ("spot", True),
        ("secrets", "token"),
        ("environment", {"A": 1}),
        ("gpu", 1),
    ],
)
def test_the_schema_of_a_job_refuses_what_its_class_refuses(key: str, value: Any) -> None:
    values = read_values(CHECKOUT / "tests/launch/jobs/plain.yaml")
    assert _problems(JobConfig, values) == []
    values[key] = value
    with pytest.raises(ValidationError):
        JobConfig.model_validate(values)
    assert _problems(JobConfig, values)
