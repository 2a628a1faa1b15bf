"""Products of float32 matrices with the same bits on every processor, for any number of threads.

Each element is a chain of fused multiply-adds in the order of k (docs/arithmetic.md, "Products").
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from retort.kernels.library import Kernels, kernels
from retort.kernels.tensors import address, check, count_of_threads


@dataclass(frozen=True)
class Packed:
    """The right factor of products, in the order in which they read it.

    Attributes:
        k, n: its rows and columns.
        floats: of `kernels`, in their own order.
    """

    k: int
    n: int
    floats: Tensor
    kernels: Kernels


def pack(matrix: Tensor, by: Kernels | None = None) -> Packed:
    """Copy a matrix into the order of products, once for all of them.

    Args:
        matrix: [k, n], float32 on the CPU, by any strides.
        by: the fastest kernels by default.
    Raises:
        ValueError: it is no such matrix.
    """
    check(matrix, "matrix", 2)
    by = by or kernels()
    k, n = matrix.shape
    floats = torch.empty(by.packed_floats(k, n))
    by.pack(k, n, matrix.data_ptr(), *matrix.stride(), floats.data_ptr())
    return Packed(k, n, floats, by)


def product(
    left: Tensor, right: Packed, bias: Tensor | None = None, threads: int | None = None
) -> Tensor:
    """`left @ right + bias`.

    Args:
        left: [m, k], float32 on the CPU, by any strides.
        bias: [n], added to each row after the product.
        threads: as many as PyTorch's by default; not in the result.
    Returns:
        [m, n], contiguous. With k = 0 it is zeros, or the bias.
    Raises:
        ValueError: the shapes do not fit, or a tensor is of another kind.
    """
    check(left, "left", 2)
    m, k = left.shape
    if k != right.k:
        raise ValueError(f"left has {k} columns, and right {right.k} rows")
    if bias is not None:
        check(bias, "bias", 1, right.n)
        bias = bias.contiguous()
    result = torch.empty(m, right.n)
    right.kernels.product(
        *(m, right.n, k),
        *(left.data_ptr(), *left.stride()),
        right.floats.data_ptr(),
        address(bias),
        *(result.data_ptr(), right.n),
        *(0, count_of_threads(threads)),
    )
    return result


@torch.library.custom_op("retort::matmul", mutates_args=())
def matmul(left: Tensor, right: Tensor, bias: Tensor | None = None) -> Tensor:
    """`left @ right + bias`, with gradients that are products, too.

    Args:
        left: [m, k].
        right: [k, n].
        bias: [n]. Its gradient is the sum over rows, in their order.
    Returns:
        [m, n].
    Raises:
        ValueError: as of `product`.
    """
    return product(left, pack(right), bias)


@matmul.register_fake
def _(left: Tensor, right: Tensor, bias: Tensor | None = None) -> Tensor:
    return left.new_empty(left.shape[0], right.shape[1])


def _saved(
    ctx: torch.autograd.function.FunctionCtx,
    inputs: tuple[Tensor, Tensor, Tensor | None],
    output: Tensor,
) -> None:
    left, right, _ = inputs
    ctx.save_for_backward(left, right)


def _gradients(
    ctx: torch.autograd.function.FunctionCtx, gradient: Tensor
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    left, right = ctx.saved_tensors  # type: ignore[attr-defined]
    by_left, by_right, by_bias = ctx.needs_input_grad  # type: ignore[attr-defined]
    ones = gradient.new_ones(1, gradient.shape[0])
    return (
        matmul(gradient, right.t()) if by_left else None,
        matmul(left.t(), gradient) if by_right else None,
        matmul(ones, gradient).reshape(-1) if by_bias else None,
    )


matmul.register_autograd(_gradients, setup_context=_saved)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`x @ weight.T + bias`, as `torch.nn.functional.linear`.

    Args:
        x: [..., k].
        weight: [n, k].
        bias: [n].
    Returns:
        [..., n].
    Raises:
        ValueError: as of `product`.
    """
    result: Tensor = matmul(x.reshape(-1, x.shape[-1]), weight.t(), bias)
    return result.reshape(*x.shape[:-1], weight.shape[0])
