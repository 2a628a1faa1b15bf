"""What kernels take: float32 on the CPU."""

from dataclasses import dataclass

import torch
from torch import Tensor


def check(tensor: Tensor, name: str, dimensions: int, last: int | None = None) -> None:
    """Refuse what no kernel could read.

    Args:
        name: of the tensor, for the message.
        last: the size of its last dimension, where it is known.
    Raises:
        ValueError: it is of another kind, or does not fit.
    """
    if tensor.dtype != torch.float32 or tensor.device.type != "cpu" or tensor.dim() != dimensions:
        raise ValueError(
            f"{name} is {tensor.dtype} of shape {list(tensor.shape)} on {tensor.device}; give float32 of "
            f"{dimensions} dimensions on the CPU"
        )
    if last is not None and tensor.shape[-1] != last:
        raise ValueError(f"{name} has {tensor.shape[-1]} elements in a row; give {last}")


def check_integers(tensor: Tensor, name: str) -> None:
    """Refuse what is not a row of int64 on the CPU.

    Raises:
        ValueError: it is of another kind.
    """
    if tensor.dtype != torch.int64 or tensor.device.type != "cpu" or tensor.dim() != 1:
        raise ValueError(
            f"{name} is {tensor.dtype} of shape {list(tensor.shape)} on {tensor.device}; give int64 of one "
            "dimension on the CPU"
        )


def check_offsets(offsets: Tensor, count: int) -> None:
    """Refuse what does not cut a row of `count` into sequences.

    Raises:
        ValueError: they are not int64 of one dimension on the CPU, or do not ascend from 0 to `count`.
    """
    check_integers(offsets, "offsets")
    if (
        len(offsets) == 0
        or int(offsets[0]) != 0
        or int(offsets[-1]) != count
        or bool((offsets[1:] < offsets[:-1]).any())
    ):
        raise ValueError(f"offsets do not ascend from 0 to {count}")


MOST_SHARDS = 256
"""So many can be computed at once."""


def shards_or_one(shards: Tensor | None, count: int) -> Tensor:
    """Where the rows of each logical shard begin and the last end; without shards, all `count` are of one.

    Raises:
        ValueError: there are none, or too many, or they do not ascend from 0 to `count`.
    """
    if shards is None:
        return torch.tensor([0, count])
    check_offsets(shards, count)
    if not 2 <= len(shards) <= MOST_SHARDS + 1:
        raise ValueError(
            f"from 1 to {MOST_SHARDS} shards are computed at once, not {len(shards) - 1}"
        )
    return shards.contiguous()


def rows(matrix: Tensor) -> Tensor:
    """The same, with the elements of its last dimension beside each other."""
    return matrix if matrix.stride(-1) == 1 or matrix.shape[-1] == 0 else matrix.contiguous()


def address(tensor: Tensor | None) -> int | None:
    """Where its elements begin; None of none."""
    return None if tensor is None else tensor.data_ptr()


@dataclass
class _Threads:
    count: int | None = None


_threads = _Threads()


def use_threads(count: int | None) -> None:
    """Have kernels use so many threads where a call does not say; None: as many as PyTorch."""
    _threads.count = count


def count_of_threads(threads: int | None = None) -> int:
    """As many as a call says, or `use_threads`, or PyTorch has; not in any result."""
    return threads or _threads.count or torch.get_num_threads()
