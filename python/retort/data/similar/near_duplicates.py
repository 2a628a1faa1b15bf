"""Near-duplicates: documents that share most of their word shingles, by MinHash and LSH.

Signatures that agree in a band are compared (Indyk and Motwani, "Approximate Nearest Neighbors",
1998); sorting finds them in less memory than tables would. All is deterministic.
"""

import bisect
import heapq
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retort.data.config import NearDuplicatesConfig
from retort.data.similar.minhash import EMPTY
from retort.data.sources.documents import Part

_VISIBLE = re.compile(r"\S")
_KEY = 24
_EXCERPT = 80
_EXAMPLES = 20
_FOUND = 0.99
_MATES = 200


@dataclass(frozen=True)
class NearPair:
    """Two near documents; `similarity` is the estimate of their Jaccard similarity.

    Attributes:
        first, second: numbers of documents in the order of the source, from 1.
        first_part, second_part: where they are.
        first_text, second_text: how they begin.
    """

    similarity: float
    first: int
    second: int
    first_part: Part
    second_part: Part
    first_text: str
    second_text: str


@dataclass(frozen=True)
class NearDuplicates:
    """What was found among the documents compared.

    Attributes:
        compared: how many documents were.
        beyond: how many were not because the recipe allows no more; wordless: because they have no
            words.
        pairs: how many pairs are at least as similar as the threshold says; of a group of more than
            200 not all are counted.
        clusters: how many groups they form, by pairs with a common document.
        largest: number of documents in the largest group.
        crossing_pairs: those pairs with one document in each part.
        leaking: documents to learn from that are near one held out.
        removed: those of them that were removed.
        examples: the first pairs, those across the split before the others.
    """

    compared: int
    beyond: int
    wordless: int
    pairs: int
    clusters: int
    largest: int
    crossing_pairs: int
    leaking: int
    removed: int
    examples: tuple[NearPair, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """A document that stays: its number in the order of the source, its part, how it begins."""

    number: int
    part: Part
    excerpt: str


@dataclass(slots=True)
class _Slot:
    """One text of the sample, and the two copies of it of which one stays."""

    first: int
    first_held_out: int | None
    excerpt: str
    signature: NDArray[np.uint32]


def position(digest: bytes) -> int:
    """The place of a text in the order of digests: whole, from 0 to 2^64 - 1."""
    return int.from_bytes(digest[16:_KEY], "big")


def excerpt(text: str) -> str:
    """How a text begins: at most 80 characters, with single spaces."""
    visible = _VISIBLE.search(text)
    start = visible.start() if visible else len(text)
    return " ".join(text[start : start + 2 * _EXCERPT].split())[:_EXCERPT]


class Sample:
    """The signatures of documents that are first in the order of their digests' third quarter.

    That order has nothing to do with the split, which goes by the first half, nor with the order
    of the source; so the sample is a fair one. It is the same in whatever order documents come.
    """

    def __init__(self, config: NearDuplicatesConfig) -> None:
        self._config = config
        self._slots: dict[bytes, _Slot] = {}
        self._heap: list[tuple[int, bytes]] = []
        """Negative position and digest: the last of the sample is at the top."""

    @property
    def threshold(self) -> int:
        """No document from this position on changes the sample any more; it never rises."""
        return 1 - self._heap[0][0] if len(self._heap) == self._config.documents else 2**64

    def add(
        self,
        number: int,
        digest: bytes,
        part: Part | None,
        excerpt: str,
        signature: NDArray[np.uint32],
    ) -> None:
        """Consider a document; one without words is left out.

        Args:
            number: of the document in the order of the source.
            digest: SHA-256 of the text, or the first 24 bytes of it.
            part: the one that the source itself has put it in.
            signature: uint32, [permutations].
        """
        where = position(digest)
        if where >= self.threshold or signature[0] == EMPTY:
            return
        key = digest[:_KEY]
        held_out = number if part == "held_out" else None
        slot = self._slots.get(key)
        if slot is not None:
            slot.first = min(slot.first, number)
            copies = (slot.first_held_out, held_out)
            slot.first_held_out = min((one for one in copies if one is not None), default=None)
            return
        self._slots[key] = _Slot(number, held_out, excerpt, signature.copy())
        if len(self._heap) < self._config.documents:
            heapq.heappush(self._heap, (-where, key))
        else:
            del self._slots[heapq.heappushpop(self._heap, (-where, key))[1]]

    def kept(self, part_of: Callable[[int], Part | None]) -> tuple[list[Entry], NDArray[np.uint32]]:
        """Those in the sample that stay, in the order of the source, and their signatures.

        Args:
            part_of: the part of a document, by number; None if it does not stay.
        Returns:
            Entries, and uint32, [entries, permutations].
        """
        found = []
        for slot in self._slots.values():
            for number in dict.fromkeys((slot.first_held_out, slot.first)):
                part = None if number is None else part_of(number)
                if number is not None and part is not None:
                    found.append((Entry(number, part, slot.excerpt), slot.signature))
                    break
        found.sort(key=lambda one: one[0].number)
        rows = np.array([signature for _, signature in found], np.uint32)
        return [entry for entry, _ in found], rows.reshape(-1, self._config.permutations)


def find_near_duplicates(
    sample: Sample, part_of: Callable[[int], Part | None], config: NearDuplicatesConfig
) -> tuple[NearDuplicates, frozenset[int]]:
    """Compare the documents of a sample that stay.

    Args:
        part_of: the part of a document, by number; None if it does not stay.
    Returns:
        What was found, and the numbers of documents to learn from that are near one held out.
        Nothing is removed yet.
    """
    entries, signatures = sample.kept(part_of)
    groups = _Groups(len(entries))
    across: list[tuple[int, int, float]] = []
    within: list[tuple[int, int, float]] = []
    pairs = crossing = 0
    leaking = set()
    for first, second, similarity in _near_pairs(signatures, config):
        pairs += 1
        groups.join(first, second)
        examples = within
        if entries[first].part != entries[second].part:
            crossing += 1
            learned = first if entries[first].part == "train" else second
            leaking.add(entries[learned].number)
            examples = across
        bisect.insort(examples, (first, second, similarity))
        del examples[_EXAMPLES:]
    sizes = groups.sizes()
    found = NearDuplicates(
        compared=len(entries),
        beyond=0,
        wordless=0,
        pairs=pairs,
        clusters=len(sizes),
        largest=max(sizes, default=0),
        crossing_pairs=crossing,
        leaking=len(leaking),
        removed=0,
        examples=tuple(
            NearPair(
                similarity=similarity,
                first=entries[first].number + 1,
                second=entries[second].number + 1,
                first_part=entries[first].part,
                second_part=entries[second].part,
                first_text=entries[first].excerpt,
                second_text=entries[second].excerpt,
            )
            for first, second, similarity in (across + within)[:_EXAMPLES]
        ),
    )
    return found, frozenset(leaking)


def _near_pairs(
    signatures: NDArray[np.uint32], config: NearDuplicatesConfig
) -> Iterator[tuple[int, int, float]]:
    """Rows whose signatures agree in a band and in enough places: the lower row, the higher one,
    and the share of places. Each pair comes once, from the first band in which it agrees. In a
    group of many equal bands, a row is compared with the first 200 alone, or a corpus of forms to
    fill in would take the square of its size."""
    bands, rows = bands_and_rows(config.threshold, config.permutations)
    for band in range(bands):
        columns = signatures[:, band * rows : (band + 1) * rows]
        order = np.lexsort(columns.T)  # stable: rows of one group rise
        new = np.ones(len(order), np.bool_)
        new[1:] = (columns[order[1:]] != columns[order[:-1]]).any(axis=1)
        starts = np.flatnonzero(new)
        sizes = np.diff(np.append(starts, len(order)))
        several = sizes > 1
        for start, size in zip(starts[several].tolist(), sizes[several].tolist(), strict=True):
            group = order[start : start + size]
            for place in range(1, size):
                mates = group[: min(place, _MATES)]
                equal = signatures[mates] == signatures[group[place]]
                similar = equal.mean(axis=1)
                agreed = equal[:, : band * rows].reshape(len(mates), band, rows)
                before = agreed.all(axis=2).any(axis=1)
                for found in np.flatnonzero((similar >= config.threshold) & ~before).tolist():
                    yield int(mates[found]), int(group[place]), float(similar[found])


def bands_and_rows(threshold: float, permutations: int) -> tuple[int, int]:
    """How a signature is cut: the fewest bands that miss a pair at the threshold less than once in
    a hundred. More similar pairs are missed less often; others are compared and put aside."""
    return max(
        ((permutations // rows, rows) for rows in range(1, permutations // 2 + 1)),
        key=lambda cut: (1 - (1 - threshold ** cut[1]) ** cut[0] >= _FOUND, cut[1]),
    )


class _Groups:
    """Disjoint sets of places, joined one pair at a time."""

    def __init__(self, count: int) -> None:
        self._above = list(range(count))

    def join(self, one: int, other: int) -> None:
        self._above[self._top(one)] = self._top(other)

    def sizes(self) -> list[int]:
        """Of the sets of more than one."""
        counts: dict[int, int] = {}
        for place in range(len(self._above)):
            top = self._top(place)
            counts[top] = counts.get(top, 0) + 1
        return [count for count in counts.values() if count > 1]

    def _top(self, place: int) -> int:
        while self._above[place] != place:
            self._above[place] = self._above[self._above[place]]
            place = self._above[place]
        return place
