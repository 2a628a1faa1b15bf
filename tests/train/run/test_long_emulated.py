"""As test_emulated, with every task, more steps, and a processor of each maker."""

from pathlib import Path

import pytest

from tests.tiny.runs import sealed, train, train_anew, typed
from tests.tiny.tasks import MADE


@pytest.mark.parametrize("processor", ["Haswell", "EPYC"])
@pytest.mark.parametrize("task", MADE)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_others_have_the_seal_of_this_processor(
    tmp_path: Path, processor: str, task: str, precision: str
) -> None:
    recipe = MADE[task](tmp_path)
    settings = [f"train.precision={precision}"]
    there = train_anew(typed(recipe, tmp_path / "there", settings=settings), emulated=processor)
    here = train(typed(recipe, tmp_path / "here", settings=settings))
    assert sealed(there) == sealed(here)
