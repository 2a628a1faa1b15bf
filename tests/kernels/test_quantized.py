"""Products of int8 have the bits of the reference: by each instruction set, for any threads and parts."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from retort.kernels.library import Kernels, usable
from retort.kernels.quantized import (
    MOST,
    Quantized,
    pack_quantized,
    quantize,
    quantized_product,
)
from tests.kernels import reference
from tests.kernels.drawn import LAID, numbers

BY = pytest.mark.parametrize("by", usable(), ids=lambda one: one.instructions)
SIZES = st.one_of(st.integers(0, 70), st.sampled_from([112, 113, 128, 255, 257]))


@BY
@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(SIZES, st.integers(0, 90), SIZES),
    drawn=st.tuples(st.integers(0, 2**31), st.sampled_from([0.0, 0.001, 0.02])),
    laid=st.tuples(LAID, LAID),
    has_bias=st.booleans(),
    threads=st.integers(1, 4),
)
def test_any_product_has_the_bits_of_the_reference(
    by: Kernels,
    *,
    shape: tuple[int, int, int],
    drawn: tuple[int, float],
    laid: tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]],
    has_bias: bool,
    threads: int,
) -> None:
    m, n, k = shape
    seed, special = drawn
    left, right = (numbers(seed, *size, special=special) for size in ((m, k), (n, k)))
    bias = numbers(seed + 1, n) if has_bias else None
    with np.errstate(all="ignore"):
        expected = reference.product_of_quantized(
            left.numpy(), right.numpy(), None if bias is None else bias.numpy()
        )
    levels = quantize(laid[0](left), threads, by)
    weights = pack_quantized(quantize(laid[1](right), threads, by), by)
    assert reference.same(quantized_product(levels, weights, bias, threads), expected)
    with np.errstate(all="ignore"):
        expected_levels, expected_scales = reference.quantized(left.numpy())
    assert np.array_equal(levels.levels.numpy(), expected_levels)
    assert reference.same(levels.scales, expected_scales)


@BY
def test_no_sum_is_cut_off(by: Kernels) -> None:
    """Levels at both ends, as many as there may be: where instructions saturate, or 32 bits end."""
    signs = torch.ones(2, MOST)
    signs[1, ::2] = -1
    packed = pack_quantized(quantize(signs, by=by), by)
    found = quantized_product(quantize(signs, by=by), packed)
    whole = torch.tensor([[MOST, 0.0], [0.0, MOST]]) * 127**2
    scale = torch.tensor(1.0) / 127
    assert torch.equal(found, whole * scale * scale)


@BY
def test_rows_are_quantized_alone(by: Kernels) -> None:
    x, weight = numbers(3, 60, 50), pack_quantized(quantize(numbers(4, 40, 50), by=by), by)
    together = quantized_product(quantize(x, by=by), weight)
    alone = [quantized_product(quantize(x[row : row + 1], by=by), weight) for row in range(60)]
    assert torch.equal(together, torch.cat(alone))


def test_levels_are_within_half_a_scale() -> None:
    x = numbers(5, 100, 300)
    found = quantize(x)
    away = (x - found.levels * found.scales[:, None]).abs()
    assert bool((away <= found.scales[:, None] * 0.5001).all())
    assert bool((found.levels.abs().amax(dim=1) == 127).all())


def test_what_is_no_matrix_of_levels_is_refused() -> None:
    good = quantize(torch.ones(3, 5))
    with pytest.raises(ValueError, match=r"x is torch\.float64"):
        quantize(torch.ones(2, 2, dtype=torch.float64))
    with pytest.raises(ValueError, match=f"x has {MOST + 1} numbers in a row"):
        quantize(torch.empty(0, MOST + 1))
    with pytest.raises(ValueError, match="from -127 to 127"):
        pack_quantized(Quantized(torch.full((3, 5), -128, dtype=torch.int8), torch.ones(3)))
    with pytest.raises(ValueError, match="scales has 4 elements"):
        pack_quantized(Quantized(good.levels, torch.ones(4)))
    with pytest.raises(ValueError, match="left has 4 columns, and right 5 inputs"):
        quantized_product(quantize(torch.ones(1, 4)), pack_quantized(good))
    with pytest.raises(ValueError, match="bias has 2 elements"):
        quantized_product(quantize(torch.ones(1, 5)), pack_quantized(good), torch.ones(2))
