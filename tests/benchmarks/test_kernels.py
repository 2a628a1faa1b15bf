"""The measurement of kernels has every product of every layer, and both sides compute the same."""

import pytest
import torch

from benchmarks.kernels.main import attend, measure, pairs, scale


@pytest.mark.parametrize("rounded", [False, True])
@pytest.mark.parametrize("threads", [1, 2])
def test_both_sides_compute_the_same(threads: int, *, rounded: bool) -> None:
    for pair in pairs(96, 160, threads, rounded=rounded):
        ours, theirs = pair.ours(), pair.theirs()
        assert isinstance(ours, torch.Tensor)
        assert isinstance(theirs, torch.Tensor)
        near = 1e-2 if rounded else 1e-3
        scale = ours.abs().max()
        assert torch.allclose(ours / scale, theirs.float() / scale, atol=near), pair.name


def test_each_product_is_measured() -> None:
    section = measure(1)
    rows = [line for line in section.text.splitlines() if " to " in line]
    assert len(rows) == 27
    assert all(float(row.split("|")[4]) > 0 for row in rows)
    assert section.targets[0].what.startswith("geometric mean")
    assert len([line for line in scale(1).text.splitlines() if " to " in line]) == 9


def test_attention_is_measured_with_dropout_and_without() -> None:
    rows = [line for line in attend(1).text.splitlines() if " x " in line]
    assert len(rows) == 6
    assert all(float(row.split("|")[4]) > 0 for row in rows)
