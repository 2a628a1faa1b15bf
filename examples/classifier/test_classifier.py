"""The recipe is valid, and the letters are what it says of them."""

import csv
from collections import Counter
from pathlib import Path

from retort.core.config import load_recipe
from retort.train.recipe import TrainingRecipe

_HERE = Path(__file__).parent


def test_every_letter_has_a_topic_that_the_recipe_allows() -> None:
    data = load_recipe(TrainingRecipe, _HERE / "recipe.yaml", [], _HERE.parents[1]).config.data
    assert data.files is not None
    assert data.files.label is not None
    (path,) = data.files.paths
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    topics = Counter(row[data.files.label] for row in rows)
    assert data.labels is not None
    assert topics == dict.fromkeys(data.labels, 20)
    assert len({row[data.files.text] for row in rows}) == len(rows), "copies would be left out"
