"""The order of documents in training: a pure function of seed, epoch and position.

A position is sent through a keyed bijection on the smallest power of four that holds all of them
(a Feistel network), again and again until it falls inside the range (cycle walking; Black and
Rogaway, "Ciphers with Arbitrary Finite Domains", 2002). So any batch of any epoch can be named
without going through the ones before it, and a reader's whole state is one integer.

A round of the network depends on half of a position's bits only. So all of its values fit in a
table of about the square root of the length, and numpy does the rest.
"""

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

_ROUNDS = 6
_WINDOW = 1 << 13
"""Positions that are worked out and kept at a time."""


class EpochOrder:
    """The order of `length` documents, another one in each epoch. Keeps tables of the epoch asked for last."""

    def __init__(self, length: int, seed: int) -> None:
        self.length = length
        self.seed = seed
        self._half = max(1, ((length - 1).bit_length() + 1) // 2)
        self._epoch = -1
        self._rounds: list[NDArray[np.int64]] = []
        self._window = -1
        self._indices: NDArray[np.int64] = np.zeros(0, np.int64)

    def samples(self, first: int, count: int) -> NDArray[np.int64]:
        """The `count` documents from the `first`-th of the whole run on, counted over all epochs."""
        found = []
        end = first + count
        while first < end:
            epoch, position = divmod(first, self.length)
            window, place = divmod(position, _WINDOW)
            indices = self._of_window(epoch, window)[place : place + end - first]
            found.append(indices)
            first += len(indices)
        return found[0] if len(found) == 1 else np.concatenate([self._indices[:0], *found])

    def _of_window(self, epoch: int, window: int) -> NDArray[np.int64]:
        if (epoch, window) != (self._epoch, self._window):
            if epoch != self._epoch:
                self._rounds = [self._round(epoch, number) for number in range(_ROUNDS)]
            start = window * _WINDOW
            positions = np.arange(start, min(start + _WINDOW, self.length), dtype=np.int64)
            self._epoch, self._window = epoch, window
            self._indices = self._permuted(positions)
        return self._indices

    def _round(self, epoch: int, number: int) -> NDArray[np.int64]:
        mask = (1 << self._half) - 1
        keys = (f"{self.seed}/{epoch}/{number}/{right}".encode() for right in range(mask + 1))
        scrambled = (int.from_bytes(hashlib.sha256(key).digest()[:8], "big") & mask for key in keys)
        return np.fromiter(scrambled, np.int64, mask + 1)

    def _permuted(self, values: NDArray[np.int64]) -> NDArray[np.int64]:
        """Send positions through the network until each falls inside the range."""
        walking: NDArray[Any] = np.arange(len(values))
        while len(walking):
            left, right = values[walking] >> self._half, values[walking] & ((1 << self._half) - 1)
            for table in self._rounds:
                left, right = right, left ^ table[right]
            values[walking] = left << self._half | right
            walking = walking[values[walking] >= self.length]
        return values
