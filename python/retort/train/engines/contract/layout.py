"""The trainable parameters as one flat vector, and how it is cut.

A parameter begins at a multiple of 64 elements. The vector is cut into blocks of a fixed length,
which do not depend on the number of ranks: norms are taken block by block. Buckets are runs of
blocks that travel together; of each bucket every rank owns an equal run of blocks, its slice.
"""

from collections.abc import Mapping
from dataclasses import dataclass

BLOCK = 1 << 16
"""Elements whose squares are summed at a time: the one shape of that sum."""
_ALIGNMENT = 64


@dataclass(frozen=True)
class Slot:
    """Where a parameter lies in the flat vector, in elements."""

    name: str
    start: int
    size: int

    @property
    def end(self) -> int:
        """The element after its last."""
        return self.start + self.size


@dataclass(frozen=True)
class Bucket:
    """A run of blocks, in elements. Rank r owns the r-th of `world_size` equal slices."""

    start: int
    end: int

    def slice_of(self, rank: int, world_size: int) -> range:
        """The elements that a rank owns."""
        length = (self.end - self.start) // world_size
        return range(self.start + rank * length, self.start + (rank + 1) * length)


@dataclass(frozen=True)
class FlatLayout:
    """The flat vector.

    Attributes:
        slots: of all parameters, rising.
        blocks: how many blocks hold them. The vector is longer where the number of ranks asks for
            it; what is behind is zero and counts nowhere.
    """

    slots: tuple[Slot, ...]
    blocks: int
    block: int

    @classmethod
    def of(cls, sizes: Mapping[str, int], block: int = BLOCK) -> "FlatLayout":
        """Lay out parameters in the order given.

        Args:
            sizes: elements of each parameter. Give them in the order in which backward reaches
                them, so that buckets are complete one after the other.
        """
        slots = []
        place = 0
        for name, size in sizes.items():
            slots.append(Slot(name, place, size))
            place += -(-size // _ALIGNMENT) * _ALIGNMENT
        return cls(tuple(slots), -(-place // block), block)

    def buckets(self, world_size: int, elements: int) -> tuple[Bucket, ...]:
        """Cut the vector into buckets of about `elements`, each a multiple of `world_size` blocks."""
        unit = self.block * world_size
        length = max(1, round(elements / unit)) * unit
        total = -(-self.blocks * self.block // unit) * unit
        return tuple(Bucket(start, min(start + length, total)) for start in range(0, total, length))
