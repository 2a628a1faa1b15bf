"""Documents, their labels, and the part that each falls in by its content."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Literal

from retort.core.config import nearest
from retort.core.digest import sha256_bytes
from retort.core.errors import DataError

Part = Literal["train", "held_out"]
_SHOWN = 100
"""Characters of a label in an error."""


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


def labels_of(parts: Mapping[Part, Set[str | None]]) -> tuple[str, ...]:
    """The labels that a classifier can learn from the parts, sorted.

    Raises:
        DataError: documents have no labels, there is only one, or a part lacks one.
    """
    found = {label for side in parts.values() for label in side}
    labels = sorted(label for label in found if label is not None)
    if None in found:
        raise DataError(
            "documents without labels cannot be classified; give data.files.label, or label of "
            "data.source"
        )
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
