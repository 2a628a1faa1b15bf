"""The recipe trains a model, and the program writes on where a text ends."""

from pathlib import Path

import pytest

from examples.language_model.continue_text import continued
from retort.core.config import load_recipe
from retort.models.checkpoint import load_language_model
from retort.train.main import main
from retort.train.recipe import TrainingRecipe

_HERE = Path(__file__).parent
_ROOT = _HERE.parents[1]


def test_the_recipe_is_valid_and_finds_its_texts() -> None:
    config = load_recipe(TrainingRecipe, _HERE / "recipe.yaml", [], _ROOT).config
    assert config.data.files is not None
    (pattern,) = config.data.files.paths
    texts = [path.read_text() for path in sorted(Path(pattern).parent.glob("*.txt"))]
    assert sum(len(text.splitlines()) for text in texts) == 80


def test_a_trained_model_writes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(_ROOT)
    recipe = ["--config", "examples/language_model/recipe.yaml", "--out", str(tmp_path / "run")]
    few = ["--set", "train.steps=2", "--set", "evaluate.max_loss=null"]
    assert main([*recipe, *few]) == 0
    checkpoint = load_language_model(tmp_path / "run/checkpoint")
    text = continued(checkpoint, "The wind", 40)
    assert text.startswith("The wind")
    assert text == continued(checkpoint, "The wind", 40)
    assert len(text) > len("The wind")
