"""MinHash signatures: numbers by which the similarity of texts is estimated, many texts at a time.

Two signatures agree at a place with the probability that is the Jaccard similarity of the texts'
sets of word shingles (Broder, "On the Resemblance and Containment of Documents", 1997). Here a hash
throws each shingle into one place, where the smallest stays (Li, Owen and Zhang, "One Permutation
Hashing", 2012); places still empty are thrown at again by other hashes, and what is empty even then
gets the smallest by an order of its own (Dahlgaard, Knudsen and Thorup, "Fast Similarity
Sketching", 2017). So each place holds the first of all shingles in some random order, as it should,
but most shingles are hashed twice, not once for each place.

All arithmetic is on whole numbers, modulo 2^32 or 2^64: the same on every machine.
"""

import re
from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from retort.data.config import NearDuplicatesConfig

EMPTY = 2**32 - 1
"""What the signature of a text without words has at every place, and no other has anywhere."""
_WORD = re.compile(r"\w+")
_CODES = 0x110000
_BLOCK = 1 << 17
"""Characters worked on at a time, so that they stay in the processor's cache."""
_CELL = 8
_ROUNDS = 8
_BASE = 747796405
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIXING = (
    (np.uint64(30), np.uint64(0xBF58476D1CE4E5B9)),
    (np.uint64(27), np.uint64(0x94D049BB133111EB)),
)
_MIXED, _HALF = np.uint64(31), np.uint64(32)


def signatures(texts: Sequence[str], config: NearDuplicatesConfig) -> NDArray[np.uint32]:
    """The MinHash signatures of texts, in lower case.

    A row depends on its text alone. One of fewer words than a shingle has is a single shingle. One
    longer than 131,072 characters is cut at every multiple of that, through a word if need be.

    Returns:
        uint32, [texts, permutations]; `EMPTY` throughout for a text without words.
    """
    found = np.full((len(texts), config.permutations), EMPTY, np.uint32)
    for start, end in _batches(texts):
        words, counts = _words(texts[start:end])
        _throw(*_shingles(words, counts, config.shingle), found[start:end])
    return found


def _batches(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Cut into runs of texts that make a block together, or of one text that is longer."""
    start = size = 0
    for number, text in enumerate(texts):
        if number > start and size + len(text) > _BLOCK:
            yield start, number
            start, size = number, 0
        size += len(text) + 1
    if start < len(texts):
        yield start, len(texts)


def _words(texts: Sequence[str]) -> tuple[NDArray[np.uint64], NDArray[np.intp]]:
    """The hashes of all words, one text after the other, and the number of words of each text."""
    if len(texts) > 1:
        hashes, starts = _hashed("\n".join(texts))
        ends = np.cumsum([len(text) + 1 for text in texts])
        return _mix(hashes), np.diff(np.searchsorted(starts, ends), prepend=0)
    [text] = texts
    cuts = range(0, max(1, len(text)), _BLOCK)
    hashes = np.concatenate([_hashed(text[start : start + _BLOCK])[0] for start in cuts])
    return _mix(hashes), np.array([len(hashes)])


def _hashed(text: str) -> tuple[NDArray[np.uint64], NDArray[np.intp]]:
    """The words of at most a block of text: polynomials in their letters, and where they start.

    Letters are multiplied by powers that go on through all of the text, and summed up from its
    start; a word is the difference of two such sums, divided by the power where it starts.
    """
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
    sums = np.zeros((len(codes) // _CELL + 1, _CELL), np.uint32)
    letters = sums.reshape(-1)  # the first is before the text
    _letters().take(codes, mode="clip", out=letters[1 : len(codes) + 1])
    inside = letters != 0
    before = np.flatnonzero(inside[1:] > inside[:-1])
    powers, inverses = _powers()
    letters *= powers[: len(letters)]
    # The sums cell by cell: three times as fast as np.cumsum.
    for place in range(1, _CELL):
        sums[:, place] += sums[:, place - 1]
    sums[1:] += np.cumsum(sums[:-1, -1], dtype=np.uint32)[:, None]
    hashes = np.diff(letters[before], append=letters[-1:]) * inverses[before]
    return hashes.astype(np.uint64), before


def _shingles(
    words: NDArray[np.uint64], counts: NDArray[np.intp], size: int
) -> tuple[NDArray[np.uint64], NDArray[np.intp]]:
    """The hashes of all shingles, one text after the other, and the text that each belongs to."""
    # Zeros after each text keep the next one out of its last shingle.
    room = counts + (size - 1)
    starts = np.cumsum(room) - room
    spaced = np.zeros(int(room.sum()), np.uint64)
    spaced[_runs(starts, counts)] = words
    last = len(spaced) - (size - 1)
    hashes = spaced[:last].copy()
    for place in range(1, size):
        hashes *= _GOLDEN
        hashes += spaced[place : place + last]
    numbers = np.where(counts > 0, np.maximum(counts - (size - 1), 1), 0)
    return _mix(hashes[_runs(starts, numbers)]), np.repeat(np.arange(len(counts)), numbers)


def _throw(
    shingles: NDArray[np.uint64], texts: NDArray[np.intp], found: NDArray[np.uint32]
) -> None:
    """Fill the signatures, [texts, places], that are empty yet."""
    count = found.shape[1]
    for factor in _factors(_ROUNDS, 1):
        thrown = shingles * factor
        places = ((thrown >> _HALF) * np.uint64(count) >> _HALF).view(np.int64)
        smallest = np.full(found.size, EMPTY, np.uint32)
        np.minimum.at(smallest, texts * count + places, thrown.astype(np.uint32))
        np.copyto(found, smallest.reshape(found.shape), where=found == EMPTY)
        unfinished = (found == EMPTY).any(axis=1)[texts]
        shingles, texts = shingles[unfinished], texts[unfinished]
        if not len(texts):
            return
    starts = np.flatnonzero(np.diff(texts, prepend=-1))
    rows = texts[starts]
    for place, factor in enumerate(_factors(count, 2)):
        smallest = np.minimum.reduceat(shingles * factor, starts) >> np.uint64(33)  # below EMPTY
        column = found[rows, place]
        found[rows, place] = np.where(column == EMPTY, smallest.astype(np.uint32), column)


def _runs(starts: NDArray[np.intp], lengths: NDArray[np.intp]) -> NDArray[np.intp]:
    """From each start on, as many whole numbers as its length says."""
    ends = np.cumsum(lengths)
    runs: NDArray[np.intp] = np.repeat(starts - (ends - lengths), lengths)
    runs += np.arange(len(runs))
    return runs


def _mix(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Make each bit depend on all of them, in place, by the finaliser of SplitMix64 (Steele, Lea
    and Flood, "Fast Splittable Pseudorandom Number Generators", 2014)."""
    for shift, factor in _MIXING:
        numbers ^= numbers >> shift
        numbers *= factor
    numbers ^= numbers >> _MIXED
    return numbers


@cache
def _factors(count: int, stream: int) -> NDArray[np.uint64]:
    """Odd numbers that stand for hash functions."""
    numbers = np.arange(count, dtype=np.uint64) + np.uint64(stream << 32)
    return _mix(numbers * _GOLDEN) | np.uint64(1)


@cache
def _powers() -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """The powers of the base and those of its inverse modulo 2^32, for the places of a block."""
    base, inverse = (
        np.multiply.accumulate(np.full(_BLOCK + _CELL, number), dtype=np.uint32)
        for number in (_BASE, pow(_BASE, -1, 2**32))
    )
    return base, inverse


@cache
def _letters() -> NDArray[np.uint32]:
    """A number for each code point, the same for both cases; 0 for what is no part of a word."""
    every = np.arange(_CODES, dtype="<u4").tobytes().decode("utf-32-le", "surrogatepass")
    plain = every.replace("\u0130", "i")  # the one letter that is two in lower case
    lower = np.frombuffer(plain.lower().encode("utf-32-le", "surrogatepass"), "<u4")
    numbers = np.zeros(_CODES, np.uint32)
    for word in _WORD.finditer(every):
        numbers[slice(*word.span())] = _factors(_CODES, 0)[lower[slice(*word.span())]] >> _HALF
    return numbers
