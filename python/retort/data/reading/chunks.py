"""Documents as columns of numbers: what is remembered of a text once it has been read."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retort.data.files.decoding import Tally
from retort.data.sources.documents import Document, Part
from retort.data.store.keys import KEY_BYTES

PARTS: tuple[Part | None, ...] = (None, "train", "held_out")
_LONGEST = 2**32 - 1


@dataclass(frozen=True)
class Columns:
    """Some documents in a row.

    Attributes:
        keys: uint8 [documents, 24], the first bytes of the SHA-256 of each text.
        labels: int32 [documents], numbers of `names`.
        names: the labels in the order in which they were met; None is that of a document without.
        parts: uint8 [documents], the number in `PARTS` of the part the source itself has chosen.
        characters: uint32 [documents].
        bytes: uint32 [documents], in UTF-8.
        empty: bool [documents], whether there is nothing but white space.
    """

    keys: NDArray[np.uint8]
    labels: NDArray[np.int32]
    names: tuple[str | None, ...]
    parts: NDArray[np.uint8]
    characters: NDArray[np.uint32]
    bytes: NDArray[np.uint32]
    empty: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.keys)


@dataclass(frozen=True)
class Chunk:
    """What was read at a time, in the order of the source.

    Attributes:
        piece: its number.
        columns: of all its documents.
        fresh: bool [documents], whose tokens are in `slots`; empty texts have none, and those of
            known texts are elsewhere.
        lengths: int64 [fresh documents], tokens of each.
        slots: token numbers, one more slot with the boundary behind each document.
        sampled: int64 [n], documents that may enter the sample for near-duplicates, and of each of
            them `excerpts` and `signatures`, uint32 [n, permutations].
        prints: S16 [fresh documents], digests of the tokens of each.
        number: of the chunk in the piece.
        tally: in the last chunk of a piece, of all of it.
        share: of the whole source that is done with this chunk.
    """

    piece: int
    columns: Columns
    fresh: NDArray[np.bool_]
    lengths: NDArray[np.int64]
    slots: NDArray[Any] = field(repr=False)
    sampled: NDArray[np.int64]
    excerpts: tuple[str, ...] = field(repr=False)
    signatures: NDArray[np.uint32] = field(repr=False)
    prints: NDArray[np.bytes_] = field(repr=False)
    number: int = 0
    tally: Tally = field(default_factory=Tally)
    share: float = 0.0

    def without_texts(self) -> "Chunk":
        """What is worth remembering when tokens and signatures have been put elsewhere."""
        return replace(
            self,
            slots=self.slots[:0].copy(),
            sampled=self.sampled[:0].copy(),
            excerpts=(),
            signatures=self.signatures[:0].copy(),
            prints=self.prints[:0].copy(),
        )


def columns_of(documents: Sequence[Document]) -> Columns:
    """The columns of documents."""
    names: dict[str | None, int] = {}
    texts = [document.text.encode("utf-8") for document in documents]
    keys = b"".join(hashlib.sha256(text).digest()[:KEY_BYTES] for text in texts)
    labels = [names.setdefault(document.label, len(names)) for document in documents]
    return Columns(
        keys=np.frombuffer(keys, np.uint8).reshape(-1, KEY_BYTES),
        labels=np.array(labels, np.int32),
        names=tuple(names),
        parts=np.array([PARTS.index(document.part) for document in documents], np.uint8),
        characters=np.array([min(len(one.text), _LONGEST) for one in documents], np.uint32),
        bytes=np.array([min(len(text), _LONGEST) for text in texts], np.uint32),
        empty=np.array([not one.text or one.text.isspace() for one in documents], np.bool_),
    )


def join(columns: Sequence[Columns]) -> Columns:
    """Columns of documents one after the other, with common label numbers."""
    names: dict[str | None, int] = {}
    numbers = [
        np.array([names.setdefault(name, len(names)) for name in one.names], np.int32)
        for one in columns
    ]
    labels = [table[one.labels] for table, one in zip(numbers, columns, strict=True)]
    return Columns(
        keys=np.concatenate([one.keys for one in columns]),
        labels=np.concatenate(labels),
        names=tuple(names),
        parts=np.concatenate([one.parts for one in columns]),
        characters=np.concatenate([one.characters for one in columns]),
        bytes=np.concatenate([one.bytes for one in columns]),
        empty=np.concatenate([one.empty for one in columns]),
    )
