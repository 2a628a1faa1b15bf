"""Products of float32 matrices with the same bits on every processor, for any number of threads.

Each element is a chain of fused multiply-adds in the order of k (docs/arithmetic.md, "Products"). Numbers may be
rounded to bfloat16 first, which is twice as fast where a processor has instructions for it; sums are float32 in both.
Where the rows are of several logical shards, gradients of weights are a chain for each, added along the canonical tree
("Shards").
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from torch import Tensor

from retort.kernels.destinations import destination_of
from retort.kernels.library import Kernels, kernels
from retort.kernels.operators import operator
from retort.kernels.shards import products_added, rows_added, sum_of_products
from retort.kernels.tensors import address, check, count_of_threads


@dataclass(frozen=True)
class Packed:
    """The right factor of products, in the order in which they read it.

    Attributes:
        k, n: its rows and columns.
        floats: of `kernels`, in their own order.
        rounded: to bfloat16; so is what it is multiplied by.
    """

    k: int
    n: int
    floats: Tensor
    kernels: Kernels
    rounded: bool


def pack(matrix: Tensor, by: Kernels | None = None, *, rounded: bool = False) -> Packed:
    """Copy a matrix into the order of products, once for all of them.

    Args:
        matrix: [k, n], float32 on the CPU, by any strides.
        by: the fastest kernels by default.
        rounded: to bfloat16.
    Raises:
        ValueError: it is no such matrix.
    """
    check(matrix, "matrix", 2)
    by = by or kernels()
    k, n = matrix.shape
    packed = Packed(k, n, torch.empty(by.packed_floats(k, n, rounded)), by, rounded)
    _fill(packed, matrix)
    return packed


def _fill(packed: Packed, matrix: Tensor) -> None:
    packed.kernels.pack(
        *(packed.k, packed.n, matrix.data_ptr(), *matrix.stride()),
        *(packed.rounded, packed.floats.data_ptr(), count_of_threads(None)),
    )


class PackedWeights:
    """Weights that are packed once for all products of a time in which they do not change.

    It takes as much memory again as the weights that are multiplied, twice where there are gradients.
    """

    def __init__(self, weights: Iterable[Tensor]) -> None:
        """
        Args:
            weights: they stay where they are in memory.
        """
        self._weights = {one.data_ptr(): one for one in weights}
        self._packed: dict[tuple[object, ...], Packed] = {}
        self._fresh: set[tuple[object, ...]] = set()

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """While this is open, nobody changes the weights, and products of this thread pack them once."""
        token = _UNCHANGED.set(self)
        try:
            yield
        finally:
            _UNCHANGED.reset(token)
            self._fresh.clear()

    def packed(self, matrix: Tensor, rounded: bool) -> Packed:
        """As `pack`, of a weight only once; of another matrix, which may be gone tomorrow, anew."""
        place = matrix.data_ptr()
        if place not in self._weights:
            return pack(matrix, rounded=rounded)
        key = (place, matrix.shape, matrix.stride(), rounded)
        if key not in self._packed:
            self._packed[key] = pack(matrix, rounded=rounded)
        elif key not in self._fresh:
            _fill(self._packed[key], matrix)
        self._fresh.add(key)
        return self._packed[key]


_UNCHANGED: ContextVar[PackedWeights | None] = ContextVar("unchanged", default=None)


def _packed(matrix: Tensor, rounded: bool) -> Packed:
    held = _UNCHANGED.get()
    return pack(matrix, rounded=rounded) if held is None else held.packed(matrix, rounded)


def product(
    left: Tensor,
    right: Packed,
    bias: Tensor | None = None,
    threads: int | None = None,
    *,
    into: Tensor | None = None,
) -> Tensor:
    """`left @ right + bias`.

    Args:
        left: [m, k], float32 on the CPU, by any strides.
        bias: [n], added to each row after the product.
        threads: as many as PyTorch's by default; not in the result.
        into: where the result is written, [m, n], contiguous; into a new tensor by default.
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
    result = torch.empty(m, right.n) if into is None else into
    right.kernels.product(
        *(m, right.n, k),
        *(left.data_ptr(), *left.stride()),
        right.floats.data_ptr(),
        address(bias),
        *(result.data_ptr(), right.n),
        *(0, right.rounded, count_of_threads(threads)),
    )
    return result


@operator("matmul")
def matmul(
    left: Tensor,
    right: Tensor,
    bias: Tensor | None = None,
    rounded: bool = False,
    shards: Tensor | None = None,
) -> Tensor:
    """`left @ right + bias`, with gradients that are products, too.

    Args:
        left: [m, k].
        right: [k, n].
        bias: [n]. Its gradient is the sum over rows, in their order, of numbers that are not rounded.
        rounded: whether the factors are, to bfloat16, here and in the gradients by them.
        shards: where the rows of each logical shard begin and the last end, int64 [shards + 1], by which the gradients
            by right and bias are added; all rows are of one by default.
    Returns:
        [m, n].
    Raises:
        ValueError: as of `product`, and in the gradients if the shards do not cover the rows.
    """
    return product(left, _packed(right, rounded), bias)


@matmul.register_fake
def _(
    left: Tensor,
    right: Tensor,
    bias: Tensor | None = None,
    rounded: bool = False,
    shards: Tensor | None = None,
) -> Tensor:
    return left.new_empty(left.shape[0], right.shape[1])


def _saved(
    ctx: torch.autograd.function.FunctionCtx,
    inputs: tuple[Tensor, Tensor, Tensor | None, bool, Tensor | None],
    output: Tensor,
) -> None:
    left, right, _, rounded, shards = inputs
    ctx.save_for_backward(left, right)
    ctx.rounded, ctx.shards = rounded, shards  # type: ignore[attr-defined]


def _gradients(
    ctx: torch.autograd.function.FunctionCtx, gradient: Tensor
) -> tuple[Tensor | None, ...]:
    left, right = ctx.saved_tensors  # type: ignore[attr-defined]
    rounded, shards = ctx.rounded, ctx.shards  # type: ignore[attr-defined]
    # Arguments that are left at their defaults are not among them.
    by_left, by_right, *others = ctx.needs_input_grad  # type: ignore[attr-defined]
    by_bias = others[:1] == [True]
    found = (
        matmul(gradient, right.t(), None, rounded) if by_left else None,
        _by_right(left, right, gradient, rounded, shards) if by_right else None,
        rows_added(gradient, shards) if by_bias else None,
        None,
        None,
    )
    return found[: 2 + len(others)]


def _by_right(
    left: Tensor, right: Tensor, gradient: Tensor, rounded: bool, shards: Tensor | None
) -> Tensor:
    """In the order of `right`, so that who adds it to another reads both as they lie; the bits are the same."""
    turned = right.stride(0) == 1
    one, other = (gradient, left) if turned else (left, gradient)
    into = destination_of(right, (one.shape[1], other.shape[1]))
    if shards is None and into is None:
        found: Tensor = matmul(one.t(), other, None, rounded)
    elif shards is None:
        found = product(one.t(), pack(other, rounded=rounded), into=into)
    elif into is None:
        found = products_added(one.t(), other, shards, rounded)
    else:
        found = sum_of_products(one.t(), other, shards, rounded=rounded, into=into)
    return found.t() if turned else found


matmul.register_autograd(_gradients, setup_context=_saved)


def linear(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    rounded: bool = False,
    shards: Tensor | None = None,
) -> Tensor:
    """`x @ weight.T + bias`, as `torch.nn.functional.linear`.

    Args:
        x: [..., k].
        weight: [n, k].
        bias: [n].
        rounded, shards: as of `matmul`.
    Returns:
        [..., n].
    Raises:
        ValueError: as of `product`.
    """
    result: Tensor = matmul(x.reshape(-1, x.shape[-1]), weight.t(), bias, rounded, shards)
    return result.reshape(*x.shape[:-1], weight.shape[0])
