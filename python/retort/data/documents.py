"""Documents, and what is done with those of every source: no duplicates, a split by content."""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Literal

from retort.core.config import nearest
from retort.core.digest import sha256_bytes
from retort.core.errors import DataError

Part = Literal["train", "held_out"]


@dataclass(frozen=True)
class Document:
    """A text, labelled or, for a language model, not.

    Attributes:
        label: None in a source that has no labels.
        part: set by sources that come with a test set of their own, and by `split`.
    """

    text: str
    label: str | None = None
    part: Part | None = None

    @property
    def digest(self) -> str:
        """SHA-256 of the text, which is the document's identity."""
        return sha256_bytes(self.text.encode("utf-8"))


@dataclass(frozen=True)
class Distinct:
    """Documents without duplicates, in the order of their digests.

    Attributes:
        duplicates: number of documents removed because another has the same text and label.
        ambiguous: number of documents removed because another has the same text, but not its label.
        empty: number of documents removed because there is nothing in them but white space.
    """

    documents: tuple[Document, ...]
    duplicates: int
    ambiguous: int
    empty: int


@dataclass(frozen=True)
class Split:
    """Documents to learn from and documents to be judged by, each in the order of their digests."""

    train: tuple[Document, ...]
    held_out: tuple[Document, ...]
    labels: tuple[str, ...]


def distinct(documents: Iterable[Document]) -> Distinct:
    """Keep one of each text. This comes before the split: a copy on its other side would leak.

    Of equal texts the one in a source's own test set stays, so that the test set stays whole.
    """
    copies: dict[str, list[Document]] = {}
    empty = 0
    for document in documents:
        if document.text.strip():
            copies.setdefault(document.digest, []).append(document)
        else:
            empty += 1
    kept = []
    duplicates = ambiguous = 0
    for _, same in sorted(copies.items()):
        if len({document.label for document in same}) > 1:
            ambiguous += len(same)
        else:
            duplicates += len(same) - 1
            kept.append(next((one for one in same if one.part == "held_out"), same[0]))
    return Distinct(tuple(kept), duplicates, ambiguous, empty)


def check_label(label: str | None, where: str, allowed: Sequence[str]) -> None:
    """Refuse a label that is not among those allowed.

    Raises:
        DataError: names the place, the label, the nearest allowed one, and them all.
    """
    if label not in allowed:
        raise DataError(f"{where}: has the label {label!r}{nearest(label, allowed)}")


def part_of(digest: str, held_out: float) -> Part:
    """The part that a document falls in by its digest (64 hexadecimal digits) alone."""
    return "held_out" if int(digest[:16], 16) / 2**64 < held_out else "train"


def split(documents: Iterable[Document], held_out: float) -> Split:
    """Divide documents by the hash of their text, so that a new document never moves another.

    Args:
        held_out: share of documents to hold out, where the source has not chosen itself.
    Raises:
        DataError: fewer than two labels, or one side lacks a label.
    """
    parts: dict[Part, list[Document]] = {"train": [], "held_out": []}
    for document in documents:
        part = document.part or part_of(document.digest, held_out)
        parts[part].append(Document(document.text, document.label, part))
    labels = labels_of({part: {one.label for one in side} for part, side in parts.items()})
    return Split(tuple(parts["train"]), tuple(parts["held_out"]), labels)


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
