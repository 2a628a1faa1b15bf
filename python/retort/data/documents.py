"""Documents, and what is done with those of every source: no duplicates, a split by content."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from retort.core.config import nearest
from retort.core.digest import sha256_bytes
from retort.core.errors import DataError

Part = Literal["train", "held_out"]


@dataclass(frozen=True)
class Document:
    """A labelled text.

    Attributes:
        part: set by sources that come with a test set of their own, and by `split`.
    """

    text: str
    label: str
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


def check_labels(documents: Iterable[Document], allowed: Sequence[str]) -> None:
    """Refuse a label that is not among those allowed.

    Raises:
        DataError: names the label, the nearest allowed one, and them all.
    """
    wrong = {document.label for document in documents} - set(allowed)
    if wrong:
        raise DataError(f"documents have the label {min(wrong)!r}{nearest(min(wrong), allowed)}")


def split(documents: Iterable[Document], held_out: float) -> Split:
    """Divide documents by the hash of their text, so that a new document never moves another.

    Args:
        held_out: share of documents to hold out, where the source has not chosen itself.
    Raises:
        DataError: fewer than two labels, or one side lacks a label.
    """
    parts: dict[Part, list[Document]] = {"train": [], "held_out": []}
    for document in documents:
        position = int(document.digest[:16], 16) / 2**64
        part = document.part or ("held_out" if position < held_out else "train")
        parts[part].append(Document(document.text, document.label, part))
    labels = {document.label for side in parts.values() for document in side}
    if len(labels) < 2:
        raise DataError(f"documents of two labels or more are needed; there are {sorted(labels)}")
    for part, side in parts.items():
        missing = labels - {document.label for document in side}
        if missing:
            raise DataError(
                f"no document of label {min(missing)!r} falls in the {part} part; "
                "give more documents or change data.held_out"
            )
    return Split(tuple(parts["train"]), tuple(parts["held_out"]), tuple(sorted(labels)))
