"""The order of an epoch for many positions at a time: `EpochOrder`, with its rounds as tables.

A round of the Feistel network depends on half of a position's bits only. So all of its values fit
in a table of about the square root of the length, and numpy does the rest.
"""

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retort.data.batches.order import EpochOrder

_ROUNDS = 6
_WINDOW = 1 << 13
"""Positions that are worked out and kept at a time."""


class EpochTable:
    """`EpochOrder.sample` for runs of numbers. Keeps tables of the epoch asked for last."""

    def __init__(self, order: EpochOrder) -> None:
        self.order = order
        self._half = max(1, ((order.length - 1).bit_length() + 1) // 2)
        self._epoch = -1
        self._rounds: list[NDArray[np.int64]] = []
        self._window = -1
        self._indices: NDArray[np.int64] = np.zeros(0, np.int64)

    def samples(self, first: int, count: int) -> NDArray[np.int64]:
        """`order.sample(number)` for `count` numbers from `first` on, counted over all epochs."""
        found = []
        end = first + count
        while first < end:
            epoch, position = divmod(first, self.order.length)
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
            positions = np.arange(start, min(start + _WINDOW, self.order.length), dtype=np.int64)
            self._epoch, self._window = epoch, window
            self._indices = self._permuted(positions)
        return self._indices

    def _round(self, epoch: int, number: int) -> NDArray[np.int64]:
        mask = (1 << self._half) - 1
        keys = (f"{self.order.seed}/{epoch}/{number}/{right}".encode() for right in range(mask + 1))
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
            walking = walking[values[walking] >= self.order.length]
        return values
