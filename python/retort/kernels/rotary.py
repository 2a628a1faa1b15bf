"""Positions as rotations, by tables that are the same on every processor.

Su and others, "RoFormer: Enhanced Transformer with Rotary Position Embedding", 2021, in the form that turns the halves
of a head against each other, as GPT-NeoX and LLaMA have it (docs/arithmetic.md, "Rotary positions").
"""

from dataclasses import dataclass
from decimal import Context, Decimal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from retort.kernels.library import Kernels, kernels
from retort.kernels.operators import operator
from retort.kernels.tensors import check, check_integers, count_of_threads

_EXACT = Context(prec=40)
_TERMS = 12
_HALF_PI = (float.fromhex("0x1.921fb544p+0"), float.fromhex("0x1.0b4611a626331p-34"))
"""Half of pi in two parts, the first of 31 bits, so that its multiples by a whole number are exact."""


@dataclass(frozen=True)
class Tables:
    """Of each position and pair of numbers the angle's cosine and sine, [positions, half], float32."""

    cosines: Tensor
    sines: Tensor


def tables(positions: int, half: int, base: float) -> Tables:
    """The tables of a model.

    Args:
        positions: how many it has, at most 2^21.
        half: of a head's width.
        base: of the frequencies, which are `base ** (-i / half)` for i from 0 to below half, each rounded to float32 as
            the models have been trained with it. So is its product with a position.
    """
    powers = [_EXACT.power(Decimal(base), Decimal(-i) / Decimal(half)) for i in range(half)]
    frequencies = np.array([float(one) for one in powers], np.float32)
    angles = np.arange(positions, dtype=np.float32)[:, None] * frequencies
    cosines, sines = _cosines_and_sines(angles.astype(np.float64))
    return Tables(
        *(torch.from_numpy(one.astype(np.float32)) for one in (cosines, sines)),
    )


def _cosines_and_sines(
    angles: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """By Taylor's series within an eighth of a turn: additions, products and quotients of float64 alone.

    NumPy rounds each of them once on every processor, which the functions of a C library do not.
    """
    quarter = np.rint(angles / (_HALF_PI[0] + _HALF_PI[1]))
    r = (angles - quarter * _HALF_PI[0]) - quarter * _HALF_PI[1]
    square = r * r
    cosine, sine = np.ones_like(r), np.ones_like(r)
    for term in range(_TERMS, 0, -1):
        cosine = 1 - cosine * (square / float((2 * term - 1) * 2 * term))
        sine = 1 - sine * (square / float(2 * term * (2 * term + 1)))
    sine = sine * r
    turns = quarter.astype(np.int64) % 4
    return (
        np.choose(turns, [cosine, -sine, -cosine, sine]),
        np.choose(turns, [sine, cosine, -sine, -cosine]),
    )


def rotate(
    x: Tensor,
    positions: Tensor,
    by_tables: Tables,
    *,
    back: bool = False,
    threads: int | None = None,
    by: Kernels | None = None,
) -> Tensor:
    """Turn each head by its token's position.

    Args:
        x: [tokens, heads, width], float32 on the CPU; the width is twice the tables'.
        positions: of the tokens, [tokens], int64.
        back: the other way, which is the gradient.
        threads: as many as PyTorch's by default; not in the result.
        by: the fastest kernels by default.
    Returns:
        As x, contiguous.
    Raises:
        ValueError: the shapes do not fit, a tensor is of another kind, or there are fewer positions.
    """
    count, half = by_tables.cosines.shape
    check(x, "x", 3, 2 * half)
    check_integers(positions, "positions")
    tokens, heads, _ = x.shape
    if len(positions) != tokens:
        raise ValueError(f"there are {len(positions)} positions, and {tokens} tokens")
    if tokens and not 0 <= int(positions.min()) <= int(positions.max()) < count:
        raise ValueError(
            f"positions are from {int(positions.min())} to {int(positions.max())}, and the model has {count}"
        )
    x = x if x.stride(2) == 1 else x.contiguous()
    positions, result = positions.contiguous(), torch.empty(x.shape)
    (by or kernels()).rotate(
        *(tokens, heads, half, x.data_ptr(), x.stride(0), x.stride(1), positions.data_ptr()),
        *(by_tables.cosines.data_ptr(), by_tables.sines.data_ptr(), -1.0 if back else 1.0),
        *(result.data_ptr(), count_of_threads(threads)),
    )
    return result


@operator("rotary")
def _rotate(x: Tensor, positions: Tensor, cosines: Tensor, sines: Tensor, back: bool) -> Tensor:
    return rotate(x, positions, Tables(cosines.contiguous(), sines.contiguous()), back=back)


@_rotate.register_fake
def _(x: Tensor, positions: Tensor, cosines: Tensor, sines: Tensor, back: bool) -> Tensor:
    return x.new_empty(x.shape)


def _saved(
    ctx: torch.autograd.function.FunctionCtx,
    inputs: tuple[Tensor, Tensor, Tensor, Tensor, bool],
    output: Tensor,
) -> None:
    ctx.save_for_backward(*inputs[1:4])
    ctx.back = inputs[4]  # type: ignore[attr-defined]


def _by_x(
    ctx: torch.autograd.function.FunctionCtx, above: Tensor
) -> tuple[Tensor, None, None, None, None]:
    positions, cosines, sines = ctx.saved_tensors  # type: ignore[attr-defined]
    by_x = _rotate(above, positions, cosines, sines, not ctx.back)  # type: ignore[attr-defined]
    return by_x, None, None, None, None


_rotate.register_autograd(_by_x, setup_context=_saved)


def rotated(x: Tensor, positions: Tensor, by_tables: Tables) -> Tensor:
    """`rotate`, with its gradient by x."""
    result: Tensor = _rotate(x, positions, by_tables.cosines, by_tables.sines, False)
    return result
