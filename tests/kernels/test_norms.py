"""Norms have the bits of the reference, and are those of PyTorch but for rounding."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from retort.kernels.library import Kernels, usable
from retort.kernels.norms import layer_norm, norm, norm_gradients, rms_norm
from tests.kernels import reference
from tests.kernels.drawn import LAID, numbers

BY = pytest.mark.parametrize("by", usable(), ids=lambda one: one.instructions)


@BY
@settings(max_examples=30, deadline=None)
@given(
    shape=st.tuples(st.integers(0, 40), st.one_of(st.integers(1, 70), st.sampled_from([384, 385]))),
    drawn=st.tuples(st.integers(0, 2**31), st.sampled_from([0.0, 0.01])),
    laid=LAID,
    kind=st.sampled_from([(True, True), (True, False), (False, False)]),
    threads=st.integers(1, 4),
)
def test_any_norm_has_the_bits_of_the_reference(
    by: Kernels,
    *,
    shape: tuple[int, int],
    drawn: tuple[int, float],
    laid: Callable[[Tensor], Tensor],
    kind: tuple[bool, bool],
    threads: int,
) -> None:
    (seed, special), (centred, has_bias), epsilon = drawn, kind, 1e-12
    x, above = (numbers(seed + one, *shape, special=special) for one in (0, 1))
    weight, bias = (numbers(seed + one, shape[1]) for one in (2, 3))
    given_bias = bias if has_bias else None
    found = norm(laid(x), weight, given_bias, epsilon, centred=centred, threads=threads, by=by)
    expected = reference.norm(
        x.numpy(),
        weight.numpy(),
        bias.numpy() if has_bias else None,
        epsilon,
        centred=centred,
    )
    for one, other in zip(found, expected, strict=True):
        assert reference.same(one, other)
    rows = tuple(map(torch.from_numpy, expected[1:]))
    gradients = norm_gradients(
        laid(above), laid(x), weight, *rows, centred=centred, threads=threads, by=by
    )
    told = reference.norm_gradients(
        above.numpy(), x.numpy(), weight.numpy(), *expected[1:], centred=centred
    )
    for one, other in zip(gradients, told, strict=True):
        assert reference.same(one, other)


@pytest.mark.parametrize("kind", ["layer", "layer, no bias", "rms"])
def test_norms_are_those_of_pytorch_with_their_gradients(kind: str) -> None:
    drawn = torch.Generator().manual_seed(0)
    x, above = (torch.randn(3, 7, 50, generator=drawn) for _ in range(2))
    weight, bias = (torch.randn(50, generator=drawn) for _ in range(2))
    sides = []
    for dtype in (torch.float32, torch.float64):
        leaves = [one.to(dtype, copy=True).requires_grad_() for one in (x, weight, bias)]
        mine, own = dtype == torch.float32, leaves[2] if kind == "layer" else None
        if kind == "rms":
            y = (
                rms_norm(leaves[0], leaves[1], 1e-6)
                if mine
                else functional.rms_norm(leaves[0], [50], leaves[1], 1e-6)
            )
        else:
            y = (
                layer_norm(leaves[0], leaves[1], own, 1e-6)
                if mine
                else functional.layer_norm(leaves[0], [50], leaves[1], own, 1e-6)
            )
        torch.autograd.backward(y, above.to(dtype))
        sides.append([y, *(one.grad for one in leaves)])
    for one, other in zip(*sides, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            assert torch.allclose(one.double(), other, rtol=1e-5, atol=1e-5)


def test_they_compose_with_pytorch() -> None:
    x, weight, bias = (
        numbers(one, *shape).requires_grad_() for one, shape in enumerate([(4, 8), (8,), (8,)])
    )
    torch.library.opcheck(
        torch.ops.retort.norm.default, (x, weight, bias, 1e-5, None), {"centred": True}
    )


@pytest.mark.parametrize(
    ("x", "weight", "told"),
    [
        (torch.zeros(2, 3), torch.zeros(4), "weight has 4 elements in a row; give 3"),
        (torch.zeros(3), torch.zeros(3), "x is torch.float32 of shape"),
        (torch.zeros(2, 3).half(), torch.zeros(3), "x is torch.float16"),
        (torch.zeros(2, 0), torch.zeros(0), "rows without a number"),
    ],
)
def test_what_does_not_fit_is_refused(x: Tensor, weight: Tensor, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        norm(x, weight, None, 1e-5, centred=True)
