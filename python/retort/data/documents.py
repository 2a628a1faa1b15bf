"""Documents, their labels, and the part that each falls in by its content."""

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Literal

from retort.core.config import nearest
from retort.core.digest import sha256_bytes
from retort.core.errors import DataError

Part = Literal["train", "held_out"]
_SHOWN = 100
"""Characters of a label in an error."""
_ROUNDING = 1e-9
"""A share such as 1/3 is not exact as a float."""


@dataclass(frozen=True)
class Document:
    """A text, labelled or, for a language model, not.

    Attributes:
        label: None in a source that has no labels.
        part: set by sources that come with a test set of their own, and when a corpus is settled.
    """

    text: str
    label: str | None = None
    part: Part | None = None

    @property
    def digest(self) -> str:
        """SHA-256 of the text, which is the document's identity."""
        return sha256_bytes(self.text.encode("utf-8"))


def check_label(label: str | None, where: str, allowed: Sequence[str]) -> None:
    """Refuse a label that is not among those allowed.

    Raises:
        DataError: names the place, the label, the nearest allowed one, and them all.
    """
    if label not in allowed:
        shown = None if label is None else label[:_SHOWN]
        raise DataError(f"{where}: has the label {shown!r}{nearest(shown, allowed)}")


def folds_of(held_out: float) -> int:
    """How many slices of this share fit into the whole: 5 of 0.2, and 3 of the float nearest 1/3."""
    return math.floor(1 / held_out + _ROUNDING)


def slice_held_out(held_out: float, fold: int) -> tuple[float, float]:
    """From where (included) to where (not) a digest, taken as a share of 0 .. 1, is held out.

    The slices of all folds lie side by side, so that no document is held out twice, and each once
    if they fill the whole.

    Args:
        held_out: width of a slice; fold: its number, from 0.
    """
    low, high = fold * held_out, (fold + 1) * held_out
    # The last slice takes in what rounding leaves out, and the highest digests, which round to 1.
    return low, math.inf if high > 1 - _ROUNDING else high


def part_of(digest: str, held_out: float, fold: int = 0) -> Part:
    """The part that a document falls in by its digest (64 hexadecimal digits) alone."""
    low, high = slice_held_out(held_out, fold)
    return "held_out" if low <= int(digest[:16], 16) / 2**64 < high else "train"


def labels_of(parts: Mapping[Part, Set[str | None]]) -> tuple[str, ...]:
    """The labels that a classifier can learn from the parts, sorted.

    Raises:
        DataError: documents have no labels, there is only one, or a part lacks one.
    """
    found = {label for side in parts.values() for label in side}
    labels = sorted(label for label in found if label is not None)
    if None in found:
        raise DataError("documents without labels cannot be classified; give data.files.label")
    if len(labels) < 2:
        raise DataError(f"documents of two labels or more are needed; there are {labels}")
    for part, side in parts.items():
        missing = [label for label in labels if label not in side]
        if missing:
            raise DataError(
                f"no document of label {missing[0]!r} falls in the {part} part; "
                "give more documents or change data.held_out"
            )
    return tuple(labels)
