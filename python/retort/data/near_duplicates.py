"""Near-duplicates: documents that share most of their word shingles, by MinHash and LSH.

Broder, "On the Resemblance and Containment of Documents", 1997; Indyk and Motwani, "Approximate
Nearest Neighbors", 1998. Signatures are those of the library datasketch; bands are compared by
sorting them, which takes a fifth of the memory of its tables of sets. All is deterministic.
"""

import bisect
import heapq
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from zlib import crc32

import numpy as np
from datasketch import MinHash  # type: ignore[import-untyped]
from numpy.typing import NDArray

from retort.data.config import NearDuplicatesConfig
from retort.data.documents import Part

_WORD = re.compile(r"\w+")
_EXCERPT = 80
_EXAMPLES = 20
_PIECE = 4096
_SCHEME = "affine32"
_FOUND = 0.99
_MATES = 200


@dataclass(frozen=True)
class NearPair:
    """Two near documents; `similarity` is the estimate of their Jaccard similarity.

    Attributes:
        first, second: numbers of documents in the order of the source, from 1.
        first_part, second_part: where they are.
        first_text, second_text: how they begin, in words.
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
        compared: how many documents were: all, or as many as the recipe allows.
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
    pairs: int
    clusters: int
    largest: int
    crossing_pairs: int
    leaking: int
    removed: int
    examples: tuple[NearPair, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """A document that stays: its number in the order of the source, its part, its first words."""

    number: int
    part: Part
    excerpt: str


@dataclass(frozen=True, slots=True)
class _Slot:
    """One text of the sample, and the two copies of it of which one stays."""

    digest: bytes
    first: int
    first_held_out: int | None
    excerpt: str


class Sample:
    """The signatures of documents that are first in the order of their digests' second half.

    That order has nothing to do with the split, which goes by the first half, nor with the order
    of the source; so the sample is a fair one, and the same for the same documents.
    """

    def __init__(self, config: NearDuplicatesConfig) -> None:
        self._config = config
        self._empty = MinHash(config.permutations, scheme=_SCHEME, hashfunc=crc32)
        self._signatures: NDArray[np.uint32] = np.empty((0, config.permutations), np.uint32)
        self._slots: list[_Slot] = []
        self._numbers: dict[bytes, int] = {}
        self._heap: list[tuple[int, int]] = []
        """Negative position and slot: the last of the sample is at the top."""

    def add(self, number: int, digest: bytes, part: Part | None, text: str) -> None:
        """Consider a document.

        Args:
            number: of the document in the order of the source; numbers rise.
            digest: SHA-256 of the text.
            part: the one that the source itself has put it in.
        """
        known = self._numbers.get(digest)
        if known is not None:
            slot = self._slots[known]
            if part == "held_out" and slot.first_held_out is None:
                self._slots[known] = _Slot(digest, slot.first, number, slot.excerpt)
            return
        position = int.from_bytes(digest[16:24], "big")
        full = len(self._slots) == self._config.documents
        if full and position >= -self._heap[0][0]:
            return
        words = _WORD.findall(text.lower())
        if not words:
            return
        entry = _Slot(
            digest,
            number,
            number if part == "held_out" else None,
            " ".join(words[:_EXCERPT])[:_EXCERPT],
        )
        if full:
            _, place = heapq.heapreplace(self._heap, (-position, self._heap[0][1]))
            del self._numbers[self._slots[place].digest]
            self._slots[place] = entry
        else:
            place = len(self._slots)
            heapq.heappush(self._heap, (-position, place))
            self._slots.append(entry)
            self._grow(place)
        self._numbers[digest] = place
        self._signatures[place] = self._signature(words)

    def kept(self, part_of: Callable[[int], Part | None]) -> tuple[list[Entry], NDArray[np.uint32]]:
        """Those in the sample that stay, in the order of the source, and their signatures.

        Args:
            part_of: the part of a document, by number; None if it does not stay.
        Returns:
            Entries, and uint32, [entries, permutations].
        """
        found = []
        for place, slot in enumerate(self._slots):
            for number in dict.fromkeys((slot.first_held_out, slot.first)):
                part = None if number is None else part_of(number)
                if number is not None and part is not None:
                    found.append((Entry(number, part, slot.excerpt), place))
                    break
        found.sort(key=lambda one: one[0].number)
        places = [place for _, place in found]
        return [entry for entry, _ in found], self._signatures[places]

    def _grow(self, place: int) -> None:
        if place < len(self._signatures):
            return
        rows = min(self._config.documents, max(1024, 2 * place))
        grown = np.empty((rows, self._config.permutations), np.uint32)
        grown[:place] = self._signatures
        self._signatures = grown

    def _signature(self, words: list[str]) -> NDArray[np.uint32]:
        signature = MinHash(
            self._config.permutations,
            scheme=_SCHEME,
            hashfunc=crc32,  # twice as fast as the library's own; its mixing makes up for the rest
            permutations=self._empty.permutations,
        )
        for piece in _pieces(words, self._config.shingle):
            signature.update_batch(piece)
        values: NDArray[np.uint32] = signature.hashvalues
        return values


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


def _pieces(words: list[str], size: int) -> Iterator[list[bytes]]:
    """All shingles of a text, a bounded number at a time. A short text is one shingle."""
    last = max(1, len(words) - size + 1)
    for start in range(0, last, _PIECE):
        end = min(start + _PIECE, last)
        yield [" ".join(words[place : place + size]).encode() for place in range(start, end)]
