"""A run by an Intel processor that QEMU plays: its seal is that of this machine's own, which verifies it."""

import shutil
from pathlib import Path

import pytest

from tests.tiny.runs import sealed, train, train_anew, typed
from tests.tiny.tasks import of_classifier

SETTINGS = ["train.steps=2", "evaluate.min_accuracy=0"]
"""What takes this machine a second takes that one a minute."""


@pytest.mark.skipif(
    shutil.which("qemu-x86_64") is None, reason="needs qemu-x86_64, of Debian's qemu-user"
)
def test_a_haswell_has_the_seal_of_this_processor(tmp_path: Path) -> None:
    recipe = of_classifier(tmp_path)
    there = train_anew(typed(recipe, tmp_path / "there", settings=SETTINGS), emulated="Haswell")
    here = train(typed(recipe, tmp_path / "here", settings=SETTINGS))
    assert sealed(there) == sealed(here)
