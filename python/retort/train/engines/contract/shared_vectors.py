"""Vectors in memory that all ranks of a machine map: what one has written, the others read where it lies.

Each rank makes a file in memory and tells the others where its kernel shows it. So nothing has a name that a killed
process could leave behind, and no limit of /dev/shm, which pods have, applies.
"""

import mmap
import os
import stat
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

_HEAD = mmap.PAGESIZE
"""Bytes before the first vector, which begin with a mark by which a file is known to be the one that was told of."""
_MARK = 16
_FLOAT32 = 4

Value = TypeVar("Value")


def shared_vectors(counts: Sequence[int], length: int, rank: int) -> list[list[Tensor]] | None:
    """A collective: the vectors of all ranks, each mapped by all.

    Args:
        counts: how many vectors each rank has.
        length: elements of a vector.
    Returns:
        For each rank its vectors, float32, zero; None if some rank cannot map those of another, as on another machine
        or in another container.
    """
    sizes = [_HEAD + _FLOAT32 * length * count for count in counts]
    mark = os.urandom(_MARK)
    descriptor = os.memfd_create("retort-vectors")
    try:
        os.ftruncate(descriptor, sizes[rank])
        os.pwrite(descriptor, mark, 0)
        told = _told_all((f"/proc/{os.getpid()}/fd/{descriptor}", mark), len(counts))
        mapped = [_map(*one, size) for one, size in zip(told, sizes, strict=True)]
        everywhere = all(_told_all(None not in mapped, len(counts)))
    finally:
        os.close(descriptor)
    if not everywhere:
        return None
    return [_vectors(one, length) for one in mapped if one is not None]


def _vectors(memory: mmap.mmap, length: int) -> list[Tensor]:
    whole = torch.from_numpy(np.frombuffer(memory, np.float32, offset=_HEAD))
    return [whole[start : start + length] for start in range(0, len(whole), length)]


def _told_all(value: Value, size: int) -> list[Value]:
    told: list[Value | None] = [None] * size
    dist.all_gather_object(told, value)
    return [one for one in told if one is not None]


def _map(path: str, mark: bytes, size: int) -> mmap.mmap | None:
    """The memory of a file, if it is the one that was told of: elsewhere there may be another by that path."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_size != size:
            return None
        if os.pread(descriptor, _MARK, 0) != mark:
            return None
        return mmap.mmap(descriptor, size)
    except OSError:
        return None
    finally:
        os.close(descriptor)
