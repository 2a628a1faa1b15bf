"""AdamW in one pass, and sums of squares, with the same bits on every processor, for any number of threads.

Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2019 (docs/arithmetic.md, "AdamW" and "Sums of
squares").
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from retort.kernels.library import Kernels, kernels
from retort.kernels.tensors import check, check_integers, count_of_threads


@dataclass(frozen=True)
class AdamW:
    """The numbers of a step.

    Attributes:
        lr: the learning rate.
        betas: of the moments.
        weight_decay: by which, times lr, weights shrink.
        step: from 1 on.
        factor: of the gradient, as clipping has it.
    """

    lr: float
    betas: tuple[float, float]
    eps: float
    weight_decay: float
    step: int
    factor: float = 1.0

    def numbers(self) -> tuple[float, ...]:
        """What the kernel takes, in float64; it rounds each to float32."""
        first, second = self.betas
        return (
            self.factor,
            1 - self.lr * self.weight_decay,
            self.lr / (1 - power(first, self.step)),
            1 - first,
            second,
            1 - second,
            math.sqrt(1 - power(second, self.step)),
            self.eps,
        )


def power(base: float, exponent: int) -> float:
    """`base ** exponent` by products alone, as a C library's power need not have the same bits everywhere.

    Bit by bit of the exponent, from the lowest on: the result times the base where it is set, then the base squared.
    """
    result = 1.0
    while exponent:
        if exponent & 1:
            result *= base
        base *= base
        exponent >>= 1
    return result


def adamw(
    weight: Tensor,
    gradient: Tensor,
    moments: tuple[Tensor, Tensor],
    numbers: AdamW,
    *,
    threads: int | None = None,
    by: Kernels | None = None,
) -> None:
    """Update a weight and its moments in place.

    Args:
        weight, gradient: [n], float32 on the CPU, contiguous.
        moments: means of gradients and of their squares, [n] each, contiguous.
        threads: as many as PyTorch's by default; not in the result.
        by: the fastest kernels by default.
    Raises:
        ValueError: the shapes do not fit, a tensor is of another kind, or the step is below 1.
    """
    if numbers.step < 1:
        raise ValueError(f"steps are counted from 1, and this is {numbers.step}")
    named = (
        ("weight", weight),
        ("gradient", gradient),
        *zip(("first", "second"), moments, strict=True),
    )
    for name, one in named:
        check(one, name, 1, len(weight))
        if not one.is_contiguous():
            raise ValueError(f"{name} is not contiguous")
    (by or kernels()).adamw(
        *(len(weight), *(one.data_ptr() for _, one in named)),
        *(*numbers.numbers(), count_of_threads(threads)),
    )


def squares(
    x: Tensor, starts: Tensor, threads: int | None = None, by: Kernels | None = None
) -> Tensor:
    """The sum of the squares of each block.

    Args:
        x: [n], float32 on the CPU, contiguous.
        starts: where each block begins and the last ends, [blocks + 1], int64, ascending, up to n.
        threads: as many as PyTorch's by default; not in the result.
        by: the fastest kernels by default.
    Returns:
        [blocks], float64.
    Raises:
        ValueError: a tensor is of another kind, or the blocks are not in x.
    """
    check(x, "x", 1)
    check_integers(starts, "starts")
    if not x.is_contiguous():
        raise ValueError("x is not contiguous")
    if (
        len(starts) == 0
        or int(starts[0]) < 0
        or int(starts[-1]) > len(x)
        or bool((starts[1:] < starts[:-1]).any())
    ):
        raise ValueError(f"blocks do not ascend from 0 or more to at most {len(x)}")
    starts, result = starts.contiguous(), torch.empty(len(starts) - 1, dtype=torch.float64)
    (by or kernels()).squares(
        *(len(result), starts.data_ptr(), x.data_ptr(), result.data_ptr()),
        count_of_threads(threads),
    )
    return result
