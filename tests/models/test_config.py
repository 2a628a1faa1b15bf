"""What a recipe may say under `model`, and what it may not say at once."""

import pytest
import yaml
from pydantic import ValidationError

from retort.core.config import for_seal, to_yaml
from retort.models.config import ModelConfig

WEIGHTS = {"package": "some_weights"}
LANGUAGE_MODEL = {"family": "gpt2", "hidden": 8, "layers": 1, "heads": 2, "context": 8}


def test_a_classifier_pools_the_mean_and_freezes_nothing_unless_told() -> None:
    config = ModelConfig.model_validate({"weights": WEIGHTS})
    assert (config.head.pooling, config.head.dropout, config.head.layer_norm) == ("mean", 0.1, True)
    assert (config.freeze.embeddings, config.freeze.layers, config.layer_decay) == (False, 0, 1.0)


@pytest.mark.parametrize(
    "values",
    [
        {"weights": WEIGHTS, "head": {"pooling": "cls"}, "layer_decay": 0.9},
        {"language_model": LANGUAGE_MODEL},
        {"weights": WEIGHTS, "embeddings": {}, "layer_decay": 0.9},
        {"weights": WEIGHTS, "embeddings": {"temperature": 0.1}},
    ],
)
def test_a_resolved_recipe_is_read_again(values: dict[str, object]) -> None:
    config = ModelConfig.model_validate(values)
    assert ModelConfig.model_validate(yaml.safe_load(to_yaml(config))) == config


def test_a_section_that_is_not_there_enters_no_seal() -> None:
    assert "embeddings" not in for_seal(ModelConfig.model_validate({"weights": WEIGHTS}))
    config = ModelConfig.model_validate({"weights": WEIGHTS, "embeddings": {}})
    assert for_seal(config)["embeddings"] == {"temperature": 0.05}
    assert config.task == "embeddings"


@pytest.mark.parametrize(
    "values",
    [{}, {"embeddings": {}}, {"weights": WEIGHTS, "language_model": LANGUAGE_MODEL}],
)
def test_a_model_is_one_of_the_two(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=r"give model\.weights .* and not both"):
        ModelConfig.model_validate(values)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("head", {"pooling": "max"}),
        ("freeze", {"layers": 1}),
        ("layer_decay", 0.5),
        ("embeddings", {}),
    ],
)
def test_what_is_of_no_use_to_a_language_model_is_refused(key: str, value: object) -> None:
    with pytest.raises(ValidationError, match=rf"model\.{key} is of no use to a language model"):
        ModelConfig.model_validate({"language_model": LANGUAGE_MODEL, key: value})


@pytest.mark.parametrize(
    "changed",
    [
        {"head": {"pooling": "median"}},
        {"head": {"dropout": 1.0}},
        {"freeze": {"layers": -1}},
        {"layer_decay": 0.0},
        {"layer_decay": 1.1},
        {"embeddings": {"temperature": 0.0}},
        {"embeddings": {"pooling": "cls"}},
    ],
)
def test_values_out_of_range_are_refused(changed: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ModelConfig.model_validate({"weights": WEIGHTS, **changed})
