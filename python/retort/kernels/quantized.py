"""Products of matrices whose numbers are int8 levels, each row with a scale (docs/arithmetic.md, "Products of int8").

Weights are quantized once, each of their output channels by itself, and what they are multiplied by as it comes, each
row by itself: a row's result does not depend on what else is computed. Sums are exact, so all processors give the same
bits.

Jacob and others, "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", 2018;
symmetric, and of each row, as in Yao and others, "ZeroQuant", 2022.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from retort.kernels import tensors
from retort.kernels.library import Kernels, kernels
from retort.kernels.tensors import address, check, count_of_threads

_TOGETHER = 4
"""A row's levels are multiplied four at a time."""
MOST = 2**17
"""Numbers of a row: sums of more could be beyond 32 bits."""


@dataclass(frozen=True)
class Quantized:
    """A matrix of levels.

    Attributes:
        levels: int8 [rows, k], from -127 to 127; behind k there may be zeros in memory.
        scales: float32 [rows], by which a row's levels are multiplied; NaN of a row that was not finite.
    """

    levels: Tensor
    scales: Tensor


def quantize(x: Tensor, threads: int | None = None, by: Kernels | None = None) -> Quantized:
    """The nearest levels to the numbers of each row, of which the largest becomes 127 or -127.

    Args:
        x: [rows, k], float32 on the CPU. A row with no number above 2**-100 becomes zeros.
        threads: as many as PyTorch's by default; not in the result.
        by: the fastest kernels by default.
    Raises:
        ValueError: it is no such matrix, or k is more than `MOST`.
    """
    check(x, "x", 2)
    m, k = x.shape
    if k > MOST:
        raise ValueError(f"x has {k} numbers in a row, and sums of at most {MOST} are exact")
    x = tensors.rows(x)
    stride = -(-k // _TOGETHER) * _TOGETHER
    levels, scales = torch.empty(m, stride, dtype=torch.int8), torch.empty(m)
    (by or kernels()).quantize(
        *(m, k, x.data_ptr(), x.stride(0)),
        *(levels.data_ptr(), stride, scales.data_ptr(), count_of_threads(threads)),
    )
    return Quantized(levels[:, :k], scales)


@dataclass(frozen=True)
class PackedQuantized:
    """Quantized weights, in the order in which products read them.

    Attributes:
        k, n: inputs and outputs.
        bytes: of `kernels`, in their own order.
        scales: float32 [n].
    """

    k: int
    n: int
    bytes: Tensor
    scales: Tensor
    kernels: Kernels


def pack_quantized(weight: Quantized, by: Kernels | None = None) -> PackedQuantized:
    """Copy quantized weights into the order of products.

    Args:
        weight: of levels [n, k].
        by: the fastest kernels by default.
    Raises:
        ValueError: they are no such matrix, or have a level of -128.
    """
    levels = weight.levels
    n, k = levels.shape
    check(weight.scales, "scales", 1, n)
    if levels.dtype != torch.int8 or k > MOST or bool((levels == -128).any()):
        raise ValueError(f"levels are {levels.dtype} [{n}, {k}]; give int8 from -127 to 127")
    levels, by = tensors.rows(levels), by or kernels()
    packed = torch.empty(by.packed_bytes(k, n), dtype=torch.uint8)
    by.pack_quantized(
        *(k, n, levels.data_ptr(), levels.stride(0), packed.data_ptr(), count_of_threads(None))
    )
    return PackedQuantized(k, n, packed, weight.scales.contiguous(), by)


def quantized_product(
    left: Quantized,
    right: PackedQuantized,
    bias: Tensor | None = None,
    threads: int | None = None,
) -> Tensor:
    """`left @ right.T + bias`, float32 [rows, n].

    Args:
        left: as `quantize` gives it.
        bias: [n].
        threads: as many as PyTorch's by default; not in the result.
    Raises:
        ValueError: the shapes do not fit.
    """
    m, k = left.levels.shape
    if k != right.k:
        raise ValueError(f"left has {k} columns, and right {right.k} inputs")
    if bias is not None:
        check(bias, "bias", 1, right.n)
        bias = bias.contiguous()
    result = torch.empty(m, right.n)
    right.kernels.quantized_product(
        *(m, right.n, k),
        *(left.levels.data_ptr(), left.levels.stride(0), left.scales.data_ptr()),
        *(right.bytes.data_ptr(), right.scales.data_ptr(), address(bias)),
        *(result.data_ptr(), count_of_threads(threads)),
    )
    return result
