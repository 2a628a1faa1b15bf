"""Sums over logical shards along the canonical tree, in one call (docs/arithmetic.md, "Shards").

What a step's gradient is does not depend on how many of its shards are computed at once.
"""

from itertools import pairwise

import torch
from torch import Tensor

from retort.kernels.library import Kernels, kernels
from retort.kernels.operators import operator
from retort.kernels.tensors import check, count_of_threads, rows, shards_or_one


def sum_of_products(
    left: Tensor,
    right: Tensor,
    shards: Tensor,
    *,
    rounded: bool = False,
    into: Tensor | None = None,
    threads: int | None = None,
    by: Kernels | None = None,
) -> Tensor:
    """`left[:, shard] @ right[shard]` of each shard, and their sum.

    Args:
        left: [m, k], float32 on the CPU, by any strides.
        right: [k, n], float32 on the CPU, by any strides.
        shards: where the k of each begin and the last end, int64 [shards + 1].
        rounded: whether the factors are, to bfloat16.
        into: where the result is written, [m, n], contiguous; into a new tensor by default.
        threads: as many as PyTorch's by default; not in the result.
        by: the fastest kernels by default.
    Returns:
        [m, n], contiguous.
    Raises:
        ValueError: the shapes do not fit, a tensor is of another kind, or the shards do not cover k.
    """
    check(left, "left", 2)
    check(right, "right", 2)
    (m, k), n, by = left.shape, right.shape[1], by or kernels()
    if k != len(right):
        raise ValueError(f"left has {k} columns, and right {len(right)} rows")
    shards, threads = shards_or_one(shards, k), count_of_threads(threads)
    parts = [right[begin:end] for begin, end in pairwise(shards.tolist())]
    packed = torch.empty(sum(by.packed_floats(len(one), n, rounded) for one in parts))
    place = packed.data_ptr()
    for one in parts:
        by.pack(len(one), n, one.data_ptr(), *one.stride(), rounded, place, threads)
        place += by.packed_floats(len(one), n, rounded) * packed.element_size()
    result = torch.empty(m, n) if into is None else into
    by.sum_of_products(
        *(m, n, len(parts), shards.data_ptr()),
        *(left.data_ptr(), *left.stride()),
        *(packed.data_ptr(), result.data_ptr(), n, rounded, threads),
    )
    return result


def sum_of_rows(
    x: Tensor,
    shards: Tensor | None = None,
    threads: int | None = None,
    by: Kernels | None = None,
) -> Tensor:
    """The sum of the rows of each shard, in their order from zero on, and the sum of these.

    Args:
        x: [m, n], float32 on the CPU.
        shards: where the rows of each begin and the last end, int64 [shards + 1]; all are of one by default.
        threads: as many as PyTorch's by default; not in the result.
        by: the fastest kernels by default.
    Returns:
        [n].
    Raises:
        ValueError: x is of another kind, or the shards do not cover its rows.
    """
    check(x, "x", 2)
    x, shards, result = rows(x), shards_or_one(shards, len(x)), torch.empty(x.shape[1])
    (by or kernels()).sum_of_rows(
        *(len(shards) - 1, shards.data_ptr(), x.shape[1], x.data_ptr(), x.stride(0)),
        *(result.data_ptr(), count_of_threads(threads)),
    )
    return result


@operator("sum_of_products")
def products_added(left: Tensor, right: Tensor, shards: Tensor, rounded: bool) -> Tensor:
    """`sum_of_products`; it has no gradient."""
    return sum_of_products(left, right, shards, rounded=rounded)


@operator("sum_of_rows")
def rows_added(x: Tensor, shards: Tensor | None) -> Tensor:
    """`sum_of_rows`; it has no gradient."""
    return sum_of_rows(x, shards)


@products_added.register_fake
def _(left: Tensor, right: Tensor, shards: Tensor, rounded: bool) -> Tensor:
    return left.new_empty(left.shape[0], right.shape[1])


@rows_added.register_fake
def _(x: Tensor, shards: Tensor | None) -> Tensor:
    return x.new_empty(x.shape[1])
