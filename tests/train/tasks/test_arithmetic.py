"""Which arithmetic a run has whose recipe leaves that open, and how it groups documents then."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from retort.core.config import Recipe, load_recipe
from retort.core.errors import DataError
from retort.train.recipe import TrainingRecipe
from retort.train.tasks.arithmetic import settled
from tests.tiny.inputs import write_documents, write_recipe, write_weights

FROM_SCRATCH = (
    "model.weights=null",
    "model.language_model={family: gpt2, hidden: 8, layers: 1, heads: 2, context: 64}",
    "tokenizer={train: {model: bpe, vocabulary: 300}}",
    "evaluate.min_accuracy=0",
)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return write_weights(tmp_path / "weights")


def load(weights: Path, settings: Sequence[str] = ()) -> Recipe[TrainingRecipe]:
    root = weights.parent
    file = write_recipe(root / "tiny.yaml", write_documents(root / "documents"), weights)
    return load_recipe(TrainingRecipe, file, settings, root)


def arithmetic(weights: Path, *settings: str, on_gpu: bool = False) -> str | None:
    return settled(load(weights, settings), None, on_gpu=on_gpu).config.train.arithmetic


def of_type(weights: Path, name: str) -> None:
    """Have the weights say that they are of another architecture."""
    file = weights / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "model_type": name}))


def test_it_is_portable_where_that_can_be_had(weights: Path) -> None:
    assert arithmetic(weights) == "portable"
    assert arithmetic(weights, *FROM_SCRATCH) == "portable"


def test_it_is_native_on_a_gpu_by_deepspeed_and_without_a_packed_form(weights: Path) -> None:
    assert arithmetic(weights, on_gpu=True) == "native"
    assert arithmetic(weights, "backend=deepspeed") == "native"
    of_type(weights, "deberta-v2")
    assert arithmetic(weights) == "native"


@pytest.mark.parametrize("name", ["portable", "native"])
@pytest.mark.parametrize("on_gpu", [False, True])
def test_what_a_recipe_says_stands(weights: Path, name: str, on_gpu: bool) -> None:
    for grouping in ("balanced", "1", "16"):
        recipe = load(weights, [f"train.arithmetic={name}", f"data.grouping={grouping}"])
        assert settled(recipe, None, on_gpu=on_gpu) == recipe


def test_a_run_goes_on_in_the_arithmetic_that_it_was_begun_in(weights: Path) -> None:
    """One whose recipe was written before there was a choice was native."""
    recipe, portable = load(weights), load(weights, ["train.arithmetic=portable"]).config
    before = {"native": recipe.config, "portable": portable}
    for name, one in before.items():
        for on_gpu in (False, True):
            assert settled(recipe, one, on_gpu=on_gpu).config.train.arithmetic == name


def test_nothing_else_of_the_recipe_is_changed(weights: Path) -> None:
    recipe = load(weights)
    settings = ["train.arithmetic=portable", "data.grouping=balanced"]
    assert settled(recipe, None, on_gpu=False) == load(weights, settings)


def test_documents_are_grouped_by_what_is_padded_or_as_the_run_was_begun(weights: Path) -> None:
    def grouping(*settings: str, before: TrainingRecipe | None = None) -> int | str | None:
        return settled(load(weights, settings), before, on_gpu=False).config.data.grouping

    assert grouping() == grouping("train.arithmetic=portable") == "balanced"
    assert grouping("train.arithmetic=native") == 16
    assert grouping(*FROM_SCRATCH) == 16, "blocks are of one length"
    # As runs in portable arithmetic have it that were begun before there was a choice.
    begun = ["train.arithmetic=portable", "data.grouping=16"]
    assert grouping(before=load(weights, begun).config) == 16
    assert grouping("data.grouping=2", before=load(weights, begun).config) == 2


def test_weights_that_cannot_be_read_are_refused_by_one_line(weights: Path) -> None:
    of_type(weights, "no such")
    with pytest.raises(DataError, match="pretrained weights cannot be read: ValueError"):
        arithmetic(weights)
    (weights / "config.json").unlink()
    with pytest.raises(DataError, match=r"config\.json: is missing; pretrained weights are"):
        arithmetic(weights)
