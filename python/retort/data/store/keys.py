"""Keys of texts: the first bytes of their SHA-256, uint8 [texts, 24]."""

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

KEY_BYTES = 24
"""Bytes of a digest that are kept: two of a billion texts are equal in them by chance once in
10^39 times."""


def digests_of(keys: NDArray[np.uint8]) -> NDArray[np.bytes_]:
    """The first half of the SHA-256 of each text, as S16, which numpy can sort."""
    return np.ascontiguousarray(keys[:, :16]).view("S16").reshape(-1)


def token_prints(slots: NDArray[Any], lengths: NDArray[np.int64]) -> NDArray[np.bytes_]:
    """The first half of the SHA-256 of the tokens of each document, S16 [documents].

    Args:
        slots: token numbers, one more slot behind each document.
        lengths: int64 [documents], tokens of each.
    """
    content, width = slots.tobytes(), slots.dtype.itemsize
    starts = (np.cumsum(lengths + 1) - lengths - 1) * width
    ends = starts + lengths * width
    prints = b"".join(
        hashlib.sha256(content[start:end]).digest()[:16]
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
    )
    return np.frombuffer(prints, "S16")


def positions(keys: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """The third quarter of each SHA-256 as a number: for choices that must not depend on the split,
    which goes by the first."""
    return np.ascontiguousarray(keys[:, 16:24]).view(">u8").reshape(-1).astype(np.uint64)


def halves(keys: NDArray[np.uint8]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """The first and the second eight bytes of all keys, as numbers."""
    numbers = np.ascontiguousarray(keys[:, :16]).view(">u8").astype(np.uint64)
    return numbers[:, 0], numbers[:, 1]
