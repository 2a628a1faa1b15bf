"""The comparison of arithmetics steps both engines on what the recipe trains."""

from pathlib import Path

import pytest

from benchmarks.portable.main import measure
from tests.tiny.runs import tiny_recipe


def test_each_work_is_measured_on_both_sides(tmp_path: Path) -> None:
    file = str(tiny_recipe(tmp_path))
    section = measure(1, [(file, "float32", 1)])
    (row,) = [line for line in section.text.splitlines() if file in line]
    _, recipe, precision, threads, ours, theirs, ratio, _ = (one.strip() for one in row.split("|"))
    assert (recipe, precision, threads) == (file, "float32", "1")
    assert float(ours) > 0
    assert float(ratio) == pytest.approx(float(theirs) / float(ours), rel=0.3)
    assert section.targets[0].what.startswith("portable training beside native")
