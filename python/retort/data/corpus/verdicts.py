"""What becomes of each document: copies are removed, the rest is split, all by its digest.

The rules are those of `retort.data.sources.documents`, applied to all documents of a corpus at once by
sorting the keys of their texts.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retort.core.errors import DataError
from retort.data.config import slice_held_out
from retort.data.reading.chunks import PARTS as OWN_PARTS
from retort.data.reading.chunks import Columns
from retort.data.sources.documents import Part
from retort.data.store.keys import digests_of, halves

EMPTY, TOKENLESS, DUPLICATE, AMBIGUOUS, SAME_TOKENS, NEAR, TRAIN, HELD_OUT = range(8)
PART_OF_VERDICT: dict[int, Part] = {TRAIN: "train", HELD_OUT: "held_out"}
_OWN = np.array([0, TRAIN, HELD_OUT], np.uint8)
assert OWN_PARTS == (None, "train", "held_out")


@dataclass(frozen=True)
class Settled:
    """What becomes of each document.

    Attributes:
        verdicts: uint8, [documents]: EMPTY, TOKENLESS, DUPLICATE, AMBIGUOUS, TRAIN or HELD_OUT.
        crossing: texts that the source itself has in both parts; only the held-out copy stays.
    """

    verdicts: NDArray[np.uint8]
    crossing: int


def settle(
    columns: Columns,
    held_out: float,
    fold: int = 0,
    tokens: NDArray[np.int64] | None = None,
) -> Settled:
    """Decide about every document.

    Of copies with one label the first stays, or the first in the source's own test set if there
    is one; of copies with several labels none does. The part is the source's own, or is decided
    by the text's digest alone.

    Args:
        held_out: share of documents to hold out, where the source has not chosen itself.
        fold: which slice of that width of the digests' range.
        tokens: int64 [documents], of each, where they are known: a text without one is as good as
            empty.
    """
    verdicts = np.where(columns.empty, EMPTY, TOKENLESS).astype(np.uint8)
    high, low = halves(columns.keys)
    numbers = np.flatnonzero(~columns.empty & (True if tokens is None else tokens > 0))
    if len(numbers) == 0:
        return Settled(verdicts, 0)
    order = numbers[np.lexsort((low[numbers], high[numbers]))]  # stable: copies in source order
    new = np.ones(len(order), np.bool_)
    new[1:] = (high[order][1:] != high[order][:-1]) | (low[order][1:] != low[order][:-1])
    starts = np.flatnonzero(new)
    sizes = np.diff(np.append(starts, len(order)))

    labels = columns.labels[order]
    one_label = np.minimum.reduceat(labels, starts) == np.maximum.reduceat(labels, starts)
    own = _OWN[columns.parts[order]]
    places = np.arange(len(order))
    first_held_out = np.minimum.reduceat(np.where(own == HELD_OUT, places, len(order)), starts)
    stays = np.where(first_held_out < len(order), first_held_out, starts)[one_label]

    verdicts[order] = np.where(np.repeat(one_label, sizes), DUPLICATE, AMBIGUOUS)
    start, end = slice_held_out(held_out, fold)
    place = high[order[stays]] / 2.0**64
    by_digest = np.where((start <= place) & (place < end), HELD_OUT, TRAIN)
    verdicts[order[stays]] = np.where(own[stays] == 0, by_digest, own[stays])
    has_train = np.maximum.reduceat(own == TRAIN, starts)
    crossing = int((one_label & has_train & (first_held_out < len(order))).sum())
    return Settled(verdicts, crossing)


def remove_copies_by_tokens(prints: NDArray[np.bytes_], verdicts: NDArray[np.uint8]) -> None:
    """Do not learn from a text that is, to the model, one that is held out: texts that differ in
    case or white space alone may have the same tokens.

    Args:
        prints: S16 [documents], digests of the tokens of each.
        verdicts: of `settle`, changed in place.
    """
    order, same = _copies(prints, np.flatnonzero((verdicts == TRAIN) | (verdicts == HELD_OUT)))
    if len(order) == 0:
        return
    starts = np.flatnonzero(np.append(True, ~same))
    is_held_out = np.maximum.reduceat(verdicts[order] == HELD_OUT, starts)
    near_one = np.repeat(is_held_out, np.diff(np.append(starts, len(order))))
    verdicts[order[near_one & (verdicts[order] == TRAIN)]] = SAME_TOKENS


def check_leakage(
    columns: Columns,
    verdicts: NDArray[np.uint8],
    prints: NDArray[np.bytes_] | None = None,
) -> None:
    """Refuse a text that would be learned from and held out, as it is written or as its tokens.

    Args:
        prints: S16 [documents], digests of the tokens of each, where they are known.
    Raises:
        DataError: names the number of the first such document, counted from 1.
    """
    numbers = np.flatnonzero((verdicts == TRAIN) | (verdicts == HELD_OUT))
    for kind, digests in (("texts", digests_of(columns.keys)), ("texts by their tokens", prints)):
        if digests is None:
            continue
        order, same = _copies(digests, numbers)
        # Copies lie in one row, so one of two parts beside one of the other is enough.
        leaks = same & (verdicts[order][1:] != verdicts[order][:-1])
        if leaks.any():
            number = int(order[1:][leaks].min()) + 1
            raise DataError(
                f"document {number} of the source is in both parts of the split: "
                f"{int(leaks.sum())} {kind} leak into what is held out"
            )


def _copies(
    digests: NDArray[np.bytes_], numbers: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Documents in the order of their digests, and whether each but the first has that of the one
    before it."""
    high, low = digests[numbers].view(">u8").reshape(-1, 2).astype(np.uint64).T
    order = np.lexsort((low, high))  # of numbers, ten times as fast as of bytes
    high, low = high[order], low[order]
    return numbers[order], (high[1:] == high[:-1]) & (low[1:] == low[:-1])
