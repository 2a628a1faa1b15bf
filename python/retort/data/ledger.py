"""What is remembered of each document between two passes over a source: 29 bytes.

The first pass notes key, label, part and lengths of every document; `settle` then decides about
all at once, by sorting the keys, by the same rules as `retort.data.documents`.
"""

from array import array
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retort.core.errors import DataError
from retort.data.documents import Document, Part

KEY = 16
"""Bytes of a digest that are kept: two of a billion texts are equal in them by chance once in
10^21 times."""
EMPTY, DUPLICATE, AMBIGUOUS, NEAR, TRAIN, HELD_OUT = range(6)
PARTS: dict[int, Part] = {TRAIN: "train", HELD_OUT: "held_out"}
_OWN_PART = {None: 0, "train": TRAIN, "held_out": HELD_OUT}
_LONGEST = 2**32 - 1


class Ledger:
    """Columns that grow by a document at a time.

    Attributes:
        labels: in the order in which they were met.
    """

    def __init__(self) -> None:
        self.labels: list[str | None] = []
        self._label_numbers: dict[str | None, int] = {}
        self._keys = bytearray()
        self._columns = {name: array(code) for name, code in zip(_NAMES, _CODES, strict=True)}

    def __len__(self) -> int:
        return len(self._keys) // KEY

    def add(self, document: Document, digest: bytes, words: int) -> None:
        """Note a document: its digest (32 bytes) and its number of words, 0 if it is empty."""
        if document.label not in self._label_numbers:
            self._label_numbers[document.label] = len(self.labels)
            self.labels.append(document.label)
        self._keys += digest[:KEY]
        columns = self._columns
        columns["label"].append(self._label_numbers[document.label])
        columns["part"].append(_OWN_PART[document.part])
        columns["characters"].append(min(len(document.text), _LONGEST))
        columns["words"].append(min(words, _LONGEST))

    def key(self, number: int) -> bytes:
        """The key of a document."""
        return bytes(self._keys[number * KEY : (number + 1) * KEY])

    def column(self, name: str) -> NDArray[np.uint32]:
        """`label`, `part`, `characters` or `words` of all documents."""
        column = self._columns[name]
        return np.array(column, dtype=np.uint32)

    def halves(self) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """The first and the second eight bytes of all keys, as numbers."""
        keys = np.frombuffer(bytes(self._keys), dtype=">u8").reshape(-1, 2)
        return keys[:, 0].astype(np.uint64), keys[:, 1].astype(np.uint64)


_NAMES = ("label", "part", "characters", "words")
_CODES = ("I", "B", "I", "I")


@dataclass(frozen=True)
class Settled:
    """What becomes of each document.

    Attributes:
        verdicts: uint8, [documents]: EMPTY, DUPLICATE, AMBIGUOUS, TRAIN or HELD_OUT.
        crossing: texts that the source itself has in both parts; only the held-out copy stays.
    """

    verdicts: NDArray[np.uint8]
    crossing: int


def settle(ledger: Ledger, held_out: float) -> Settled:
    """Decide about every document.

    Of copies with one label the first stays, or the first in the source's own test set if there
    is one; of copies with several labels none does. The part is the source's own, or is decided
    by the text's digest alone.

    Args:
        held_out: share of documents to hold out, where the source has not chosen itself.
    """
    count = len(ledger)
    verdicts = np.full(count, EMPTY, np.uint8)
    high, low = ledger.halves()
    numbers = np.flatnonzero(ledger.column("words") > 0)
    if len(numbers) == 0:
        return Settled(verdicts, 0)
    order = numbers[np.lexsort((low[numbers], high[numbers]))]  # stable: copies in source order
    new = np.ones(len(order), np.bool_)
    new[1:] = (high[order][1:] != high[order][:-1]) | (low[order][1:] != low[order][:-1])
    starts = np.flatnonzero(new)
    sizes = np.diff(np.append(starts, len(order)))

    labels = ledger.column("label")[order]
    one_label = np.minimum.reduceat(labels, starts) == np.maximum.reduceat(labels, starts)
    own = ledger.column("part")[order]
    places = np.arange(len(order))
    first_held_out = np.minimum.reduceat(np.where(own == HELD_OUT, places, len(order)), starts)
    stays = np.where(first_held_out < len(order), first_held_out, starts)[one_label]

    verdicts[order] = np.where(np.repeat(one_label, sizes), DUPLICATE, AMBIGUOUS)
    by_digest = np.where(high[order[stays]] / 2.0**64 < held_out, HELD_OUT, TRAIN)
    verdicts[order[stays]] = np.where(own[stays] == 0, by_digest, own[stays])
    has_train = np.maximum.reduceat(own == TRAIN, starts)
    crossing = int((one_label & has_train & (first_held_out < len(order))).sum())
    return Settled(verdicts, crossing)


def check_leakage(ledger: Ledger, verdicts: NDArray[np.uint8]) -> None:
    """Refuse a text that would be learned from and held out.

    Raises:
        DataError: names the number of the first such document, counted from 1.
    """
    high, low = ledger.halves()
    numbers = np.flatnonzero((verdicts == TRAIN) | (verdicts == HELD_OUT))
    order = numbers[np.lexsort((low[numbers], high[numbers]))]
    same = (high[order][1:] == high[order][:-1]) & (low[order][1:] == low[order][:-1])
    leaks = same & (verdicts[order][1:] != verdicts[order][:-1])
    if leaks.any():
        number = int(order[1:][leaks].min()) + 1
        raise DataError(
            f"document {number} of the source is in both parts of the split: "
            f"{int(leaks.sum())} texts leak into what is held out"
        )
