"""The order of documents in training: a pure function of seed, epoch and position.

A position is sent through a keyed bijection on the smallest power of four that holds all of them
(a Feistel network), again and again until it falls inside the range (cycle walking; Black and
Rogaway, "Ciphers with Arbitrary Finite Domains", 2002). So any batch of any epoch can be named
without going through the ones before it, and a reader's whole state is one integer.
"""

import hashlib
from dataclasses import dataclass

_ROUNDS = 6


@dataclass(frozen=True)
class EpochOrder:
    """The order of `length` documents, another one in each epoch."""

    length: int
    seed: int

    def sample(self, number: int) -> int:
        """The document that is the `number`-th of the whole run, counted over all epochs."""
        epoch, position = divmod(number, self.length)
        return self.index(epoch, position)

    def batch(self, step: int, size: int) -> list[int]:
        """The documents of optimiser step `step` (from 0); it may reach into the next epoch."""
        return [self.sample(step * size + place) for place in range(size)]

    def index(self, epoch: int, position: int) -> int:
        """The document at a position of an epoch: for each epoch a bijection on 0 .. length - 1."""
        half = max(1, ((self.length - 1).bit_length() + 1) // 2)
        value = position
        while True:
            value = self._permute(value, epoch, half)
            if value < self.length:
                return value

    def _permute(self, value: int, epoch: int, half: int) -> int:
        mask = (1 << half) - 1
        left, right = value >> half, value & mask
        for number in range(_ROUNDS):
            key = f"{self.seed}/{epoch}/{number}/{right}".encode()
            scrambled = int.from_bytes(hashlib.sha256(key).digest()[:8], "big") & mask
            left, right = right, left ^ scrambled
        return left << half | right
