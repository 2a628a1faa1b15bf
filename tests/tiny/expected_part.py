"""The part that a document falls in, worked out from the definition of a split."""

from retort.data.config import slice_held_out
from retort.data.sources.documents import Part


def part_of(digest: str, held_out: float, fold: int = 0) -> Part:
    """The part that a document falls in by its digest (64 hexadecimal digits) alone."""
    low, high = slice_held_out(held_out, fold)
    return "held_out" if low <= int(digest[:16], 16) / 2**64 < high else "train"
