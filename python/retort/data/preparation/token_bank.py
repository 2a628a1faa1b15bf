"""Tokens that are at hand while a store is written: of texts just read, of an earlier run that was
stopped, of the store that is replaced. A text is found by its digest, wherever it stood.

What was just read goes to the work directory, as files of the form of shards. They are named by
their SHA-256, so a later run can trust them after a look at that.
"""

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retort.core.atomic import storage_errors
from retort.core.digest import sha256_file
from retort.core.errors import SealError
from retort.data.reading.chunks import Chunk, Columns
from retort.data.store.keys import digests_of, token_prints
from retort.data.store.shards import UNLABELLED, Shard, read_shard, shard_content

_SUFFIX = ".tokens"
_NO_INPUT = "0" * 64
_OPEN = 16
"""Files that are in memory at a time; one has the tokens of some 4 MB of text."""


@dataclass(frozen=True)
class Located:
    """Where the tokens of documents are.

    Attributes:
        files: int32 [documents], number of the file; -1 for texts that are not at hand.
        starts: int64 [documents], first slot in it.
        lengths: int64 [documents], tokens; 0 for texts that are not at hand.
        prints: S16 [documents], digests of the tokens of each.
        reused: bool [documents], whether they were at hand before this run.
    """

    files: NDArray[np.int32]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    prints: NDArray[np.bytes_]
    reused: NDArray[np.bool_]


class TokenBank:
    """Tokens by the digests of their texts."""

    def __init__(self, target: Path, work: Path, recipe: bytes) -> None:
        """Take over what an earlier run left in the work directory, and remove the rest.

        Args:
            target: the store; errors of writing name it.
            recipe: what tokens depend on beside the text: tokenizer, format, boundary.
        """
        self._target = target
        self._work = work
        self._prefix = f"{hashlib.sha256(recipe).hexdigest()[:16]}-"
        self._files: list[Path] = []
        self._digests: list[NDArray[np.bytes_]] = []
        self._starts: list[NDArray[np.int64]] = []
        self._lengths: list[NDArray[np.int64]] = []
        self._prints: list[NDArray[np.bytes_]] = []
        self._open: OrderedDict[int, Shard] = OrderedDict()
        for path in sorted(work.iterdir()):
            sha256 = path.name.removeprefix(self._prefix).removesuffix(_SUFFIX)
            if path.name != f"{self._prefix}{sha256}{_SUFFIX}" or not self.take_over(path, sha256):
                path.unlink(missing_ok=True)
        self._before = len(self._files)

    def take_over(self, path: Path, sha256: str) -> bool:
        """Use a file of tokens if it is there and has this digest."""
        try:
            if sha256_file(path) != sha256:
                return False
            self._add(path, read_shard(path))
        except (OSError, SealError):
            return False
        self._before = len(self._files)
        return True

    def known(self) -> NDArray[np.bytes_]:
        """S16 [texts], sorted: the digests of texts whose tokens are at hand."""
        return np.sort(self._joined_digests())

    def add(self, chunk: Chunk) -> None:
        """Keep the fresh tokens of a chunk.

        Raises:
            StorageError: the disk is full or permission is missing.
        """
        keys = chunk.columns.keys[chunk.fresh]
        if len(keys) == 0:
            return
        labels = np.full(len(keys), UNLABELLED, np.int32)
        content = shard_content(keys, labels, chunk.lengths, chunk.slots, _NO_INPUT)
        digest = hashlib.sha256()
        for piece in content:
            digest.update(piece)
        path = self._work / f"{self._prefix}{digest.hexdigest()}{_SUFFIX}"
        with storage_errors(self._target):
            unfinished = path.with_suffix(".unfinished")
            try:
                with unfinished.open("wb") as file:
                    file.writelines(content)
                unfinished.rename(path)
            finally:
                unfinished.unlink(missing_ok=True)
        self._note(path, digests_of(keys), chunk.lengths, chunk.prints)

    def locate(self, columns: Columns) -> Located:
        """Find the tokens of documents."""
        digests = self._joined_digests()
        wanted = digests_of(columns.keys)
        files = np.full(len(wanted), -1, np.int32)
        starts = np.zeros(len(wanted), np.int64)
        lengths = np.zeros(len(wanted), np.int64)
        prints = np.zeros(len(wanted), "S16")
        if len(digests) == 0:
            return Located(files, starts, lengths, prints, np.zeros(len(wanted), np.bool_))
        places = _find(digests, wanted)
        found = (places >= 0) & ~columns.empty
        chosen = places[found]
        counts = [len(one) for one in self._digests]
        files[found] = np.repeat(np.arange(len(counts), dtype=np.int32), counts)[chosen]
        starts[found] = np.concatenate(self._starts)[chosen]
        lengths[found] = np.concatenate(self._lengths)[chosen]
        prints[found] = np.concatenate(self._prints)[chosen]
        return Located(files, starts, lengths, prints, (files >= 0) & (files < self._before))

    def slots(self, located: Located, documents: NDArray[np.int64]) -> NDArray[Any]:
        """The tokens of some documents, each followed by the boundary, in one array."""
        files, starts = located.files[documents], located.starts[documents]
        ends = starts + located.lengths[documents] + 1
        # What lies side by side in a file is taken in one piece.
        breaks = np.flatnonzero((files[1:] != files[:-1]) | (starts[1:] != ends[:-1])) + 1
        firsts = np.concatenate([np.zeros(1, np.int64), breaks])
        lasts = np.concatenate([breaks, np.array([len(documents)])]) - 1
        pieces = [
            self._slots_of(file)[start:end]
            for file, start, end in zip(
                files[firsts].tolist(), starts[firsts].tolist(), ends[lasts].tolist(), strict=True
            )
        ]
        return np.concatenate(pieces)

    def _slots_of(self, number: int) -> NDArray[Any]:
        if number in self._open:
            self._open.move_to_end(number)
        else:
            self._open[number] = read_shard(self._files[number])
            if len(self._open) > _OPEN:
                self._open.popitem(last=False)
        return self._open[number].slots

    def _add(self, path: Path, shard: Shard) -> None:
        digests = np.ascontiguousarray(shard.digests).view("S16").reshape(-1)
        lengths = np.diff(shard.offsets) - 1
        self._note(path, digests.copy(), lengths, token_prints(shard.slots, lengths))

    def _note(
        self,
        path: Path,
        digests: NDArray[np.bytes_],
        lengths: NDArray[np.int64],
        prints: NDArray[np.bytes_],
    ) -> None:
        self._files.append(path)
        self._digests.append(digests)
        self._lengths.append(lengths)
        self._prints.append(prints)
        self._starts.append(np.cumsum(lengths + 1) - lengths - 1)

    def _joined_digests(self) -> NDArray[np.bytes_]:
        return np.concatenate([np.zeros(0, "S16"), *self._digests])


def _find(digests: NDArray[np.bytes_], wanted: NDArray[np.bytes_]) -> NDArray[np.int64]:
    """Where each wanted digest stands; -1 where it does not. All are S16, and some there are."""
    halves, looked_for = (
        one.view(">u8").reshape(-1, 2).astype(np.uint64) for one in (digests, wanted)
    )
    order = np.lexsort((halves[:, 1], halves[:, 0]))  # of numbers, ten times as fast as of bytes
    halves = halves[order]
    places = np.searchsorted(halves[:, 0], looked_for[:, 0])
    last = len(order) - 1
    while True:  # once, but for digests that are equal in their first half alone
        places = np.minimum(places, last)
        first, second = (halves[places] == looked_for).T
        before = first & ~second & (halves[places, 1] < looked_for[:, 1]) & (places < last)
        if not before.any():
            return np.where(first & second, order[places], -1)
        places += before
