"""Rows of a table, the gradient by it as the rows that were touched, and sums of rows, in one order."""

import torch
from torch import Tensor

from retort.kernels.destinations import destination_of
from retort.kernels.library import Kernels, kernels
from retort.kernels.operators import operator
from retort.kernels.tensors import (
    address,
    check,
    check_integers,
    check_offsets,
    count_of_threads,
    rows,
    shards_or_one,
)


def touched(
    above: Tensor,
    ids: Tensor,
    shards: Tensor | None = None,
    threads: int | None = None,
    by: Kernels | None = None,
) -> tuple[Tensor, Tensor]:
    """The gradient by those rows of a table that were taken.

    Args:
        above: the gradient by each row taken, [m, n], float32 on the CPU.
        ids: which were taken, [m], int64.
        shards: where the rows of each logical shard begin and the last end, int64 [shards + 1]; all are of one by
            default.
        threads: as many as PyTorch's by default; not in the result.
        by: the fastest kernels by default.
    Returns:
        The ids, each once, ascending, [k]; and of each its row, [k, n]: the sum in the order of `above`,
        of several shards one for each, added along the canonical tree.
    Raises:
        ValueError: the shapes do not fit, a tensor is of another kind, or the shards do not cover the rows.
    """
    check(above, "above", 2)
    check_integers(ids, "ids")
    if len(ids) != len(above):
        raise ValueError(f"there are {len(ids)} ids, and {len(above)} rows of above")
    above = rows(above)
    in_order, order = ids.sort(stable=True)
    taken, counts = torch.unique_consecutive(in_order, return_counts=True)
    starts = torch.zeros(len(taken) + 1, dtype=torch.int64)
    torch.cumsum(counts, 0, out=starts[1:])
    found, owners = torch.empty(len(taken), above.shape[1]), None
    if shards is not None:
        counts = shards_or_one(shards, len(ids)).diff()
        owners = torch.repeat_interleave(torch.arange(len(counts)), counts)
    (by or kernels()).add_rows(
        *(len(taken), above.shape[1], order.data_ptr(), starts.data_ptr(), address(owners)),
        *(above.data_ptr(), above.stride(0), found.data_ptr(), count_of_threads(threads)),
    )
    return taken, found


def sums(
    x: Tensor, offsets: Tensor, threads: int | None = None, by: Kernels | None = None
) -> Tensor:
    """Of the rows of each sequence, in their order from zero on.

    Args:
        x: [m, n], float32 on the CPU.
        offsets: where each sequence begins and the last ends, int64 [sequences + 1], from 0 to m, ascending.
        threads: as many as PyTorch's by default; not in the result.
        by: the fastest kernels by default.
    Returns:
        [sequences, n].
    Raises:
        ValueError: a tensor is of another kind, or offsets do not ascend from 0 to m.
    """
    check(x, "x", 2)
    check_offsets(offsets, len(x))
    x, offsets, order = rows(x), offsets.contiguous(), torch.arange(len(x))
    result = torch.empty(len(offsets) - 1, x.shape[1])
    (by or kernels()).add_rows(
        *(len(result), x.shape[1], order.data_ptr(), offsets.data_ptr(), None),
        *(x.data_ptr(), x.stride(0), result.data_ptr(), count_of_threads(threads)),
    )
    return result


@operator("sums")
def summed(x: Tensor, offsets: Tensor) -> Tensor:
    """`sums`, with its gradient."""
    return sums(x, offsets)


@summed.register_fake
def _(x: Tensor, offsets: Tensor) -> Tensor:
    return x.new_empty(len(offsets) - 1, x.shape[1])


def _save_offsets(
    ctx: torch.autograd.function.FunctionCtx, inputs: tuple[Tensor, Tensor], output: Tensor
) -> None:
    ctx.save_for_backward(inputs[1])


def _by_rows(ctx: torch.autograd.function.FunctionCtx, above: Tensor) -> tuple[Tensor, None]:
    (offsets,) = ctx.saved_tensors  # type: ignore[attr-defined]
    return above.repeat_interleave(offsets.diff(), dim=0), None


summed.register_autograd(_by_rows, setup_context=_save_offsets)


@operator("embedding_gradient")
def _gradient(above: Tensor, ids: Tensor, count: int, shards: Tensor | None) -> Tensor:
    taken, found = touched(above, ids, shards)
    return torch.zeros(count, above.shape[1]).index_copy_(0, taken, found)


@_gradient.register_fake
def _(above: Tensor, ids: Tensor, count: int, shards: Tensor | None) -> Tensor:
    return above.new_empty(count, above.shape[1])


@operator("embedding")
def embedding(table: Tensor, ids: Tensor, shards: Tensor | None = None) -> Tensor:
    """Rows of a table, [m, n].

    Args:
        table: [count, n], float32 on the CPU.
        ids: [m], int64, each from 0 to below count.
        shards: as of `touched`, which gives the gradient.
    Raises:
        ValueError: the shapes do not fit, a tensor is of another kind, or there is no such row.
    """
    check(table, "table", 2)
    check_integers(ids, "ids")
    if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < len(table):
        raise ValueError(
            f"ids are from {int(ids.min())} to {int(ids.max())}, and the table has {len(table)} rows"
        )
    return table.index_select(0, ids)


@embedding.register_fake
def _(table: Tensor, ids: Tensor, shards: Tensor | None = None) -> Tensor:
    return table.new_empty(len(ids), table.shape[1])


def _saved(
    ctx: torch.autograd.function.FunctionCtx,
    inputs: tuple[Tensor, Tensor, Tensor | None],
    output: Tensor,
) -> None:
    table, ids, shards = inputs
    ctx.save_for_backward(table, ids)
    ctx.shards = shards  # type: ignore[attr-defined]


def _by_table(ctx: torch.autograd.function.FunctionCtx, above: Tensor) -> tuple[Tensor, None, None]:
    table, ids = ctx.saved_tensors  # type: ignore[attr-defined]
    shards = ctx.shards  # type: ignore[attr-defined]
    into = destination_of(table, table.shape)
    if into is None:
        return _gradient(above, ids, len(table), shards), None, None
    return into.zero_().index_copy_(0, *touched(above, ids, shards)), None, None


embedding.register_autograd(_by_table, setup_context=_saved)
