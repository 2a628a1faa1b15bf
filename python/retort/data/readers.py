"""Batches from a token store. A reader has no state: a batch is named by its step, an integer.

Both readers go through the samples of one epoch after the other in `EpochOrder`. A step takes the
next `batch` samples, and each rank its share of them, so that all ranks together see every sample
once an epoch, whatever their number, and a run may go on with another number of ranks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retort.core.errors import ConfigError, DataError
from retort.data.epoch_table import EpochTable
from retort.data.order import EpochOrder
from retort.data.store import SpecialTokens, StorePart


@dataclass(frozen=True)
class TextBatch:
    """Texts for a classifier.

    Attributes:
        documents: int64 [texts], their numbers in the part.
        ids: int64 [texts, length], token numbers with special tokens, padded on the right.
        mask: int64, same shape; 1 where there is a token, 0 where there is padding.
        labels: int64 [texts]; -1 without a label.
        truncated: number of texts that were too long.
        dropped: number of tokens that were cut off them.
    """

    documents: NDArray[np.int64]
    ids: NDArray[np.int64]
    mask: NDArray[np.int64]
    labels: NDArray[np.int64]
    truncated: int
    dropped: int


@dataclass(frozen=True)
class BlockBatch:
    """Blocks for a language model: `ids[:, :-1]` are inputs, `ids[:, 1:]` their targets.

    Attributes:
        blocks: int64 [blocks], their numbers in the part.
        ids: int64 [blocks, tokens + 1].
        targets: int64 [blocks], number of targets that count: fewer in the last block of a part,
            which is filled up with boundary tokens.
    """

    blocks: NDArray[np.int64]
    ids: NDArray[np.int64]
    targets: NDArray[np.int64]


@dataclass(frozen=True)
class Share:
    """Which samples of each step a rank takes: `batch` are shared out as evenly as can be."""

    batch: int
    rank: int = 0
    world_size: int = 1

    def of(self, step: int) -> tuple[int, int]:
        """The number of the first sample, counted over all epochs, and how many there are."""
        start = self.batch * self.rank // self.world_size
        end = self.batch * (self.rank + 1) // self.world_size
        return step * self.batch + start, end - start


class ClassificationReader:
    """Texts with special tokens, padded to one length or to the least of several that holds them."""

    def __init__(
        self,
        part: StorePart,
        special: SpecialTokens,
        lengths: Sequence[int],
        seed: int,
        share: Share,
    ) -> None:
        """
        Args:
            lengths: rising lengths that a batch may have, special tokens included; a text that is
                longer than the last is cut, and counted.
        Raises:
            ConfigError: the lengths do not rise, or leave no room beside the special tokens.
            DataError: the part is empty, or the tokenizer has no padding token.
        """
        around = special.around
        if not lengths or list(lengths) != sorted(set(lengths)) or lengths[0] <= around:
            raise ConfigError(f"lengths must rise and be over {around}, not {list(lengths)}")
        if len(part) == 0:
            raise DataError("there are no documents to make batches of")
        if special.padding is None:
            raise DataError("the tokenizer of the token store has no padding token")
        self._part = part
        self._padding = special.padding
        self._prefix = np.array(special.prefix, np.int64)
        self._suffix = np.array(special.suffix, np.int64)
        self._lengths = np.array(lengths, np.int64)
        self._order = EpochTable(EpochOrder(len(part), seed))
        self._share = share

    def batch(self, step: int) -> TextBatch:
        """This rank's texts of a step, counted from 0 over all epochs."""
        return self.texts(self._order.samples(*self._share.of(step)).copy())

    def texts(self, documents: NDArray[np.int64]) -> TextBatch:
        """The batch of the documents with these numbers, in their order."""
        before, after = len(self._prefix), len(self._suffix)
        lengths = self._part.lengths[documents]
        wanted = int(lengths.max(initial=0)) + before + after
        bucket = min(int(np.searchsorted(self._lengths, wanted)), len(self._lengths) - 1)
        length = int(self._lengths[bucket])
        kept = np.minimum(lengths, length - before - after)
        ids = np.full((len(documents), length), self._padding, np.int64)
        ids[:, :before] = self._prefix
        for row, document, count in zip(ids, documents.tolist(), kept.tolist(), strict=True):
            row[before : before + count] = self._part.document(document)[:count]
            row[before + count : before + count + after] = self._suffix
        return TextBatch(
            documents=documents,
            ids=ids,
            mask=(np.arange(length) < (kept + before + after)[:, None]).astype(np.int64),
            labels=self._part.labels[documents],
            truncated=int((kept < lengths).sum()),
            dropped=int((lengths - kept).sum()),
        )


class BlockReader:
    """Blocks of the documents of a part laid end to end, with a boundary token around each.

    Block k holds the tokens k * N .. k * N + N of that stream: neighbours share one token, the
    last target of one being the first input of the next. So every token of every document, and
    the boundary after it, is a target exactly once an epoch.
    """

    def __init__(
        self, part: StorePart, special: SpecialTokens, tokens: int, seed: int, share: Share
    ) -> None:
        """
        Args:
            tokens: N, the number of inputs, and of targets, in a block.
        Raises:
            ConfigError: blocks would be empty.
            DataError: the part is empty, or the tokenizer has no boundary token.
        """
        if tokens < 1:
            raise ConfigError(f"a block must have at least one token, not {tokens}")
        if len(part) == 0:
            raise DataError("there are no documents to make blocks of")
        if special.boundary is None:
            raise DataError("the tokenizer of the token store has no boundary token")
        self._boundary = special.boundary
        self._slots: list[NDArray[Any]] = [shard.slots for shard in part.shards]
        self._starts = np.cumsum([0, *(len(slots) for slots in self._slots)], dtype=np.int64)
        self._tokens = tokens
        self._total = int(self._starts[-1])
        self.length = -(-self._total // tokens)
        """Number of blocks in an epoch."""
        self._order = EpochTable(EpochOrder(self.length, seed))
        self._share = share

    def batch(self, step: int) -> BlockBatch:
        """This rank's blocks of a step, counted from 0 over all epochs."""
        return self.blocks(self._order.samples(*self._share.of(step)).copy())

    def blocks(self, blocks: NDArray[np.int64]) -> BlockBatch:
        """The batch of the blocks with these numbers, in their order."""
        # The stream is the slots of all shards, behind one boundary: hence the -1.
        starts = blocks * self._tokens - 1
        shards = np.searchsorted(self._starts, np.maximum(starts, 0), side="right") - 1
        places = starts - self._starts[shards]
        width = self._tokens + 1
        ids = np.empty((len(blocks), width), np.int64)
        for row, shard, place in zip(ids, shards.tolist(), places.tolist(), strict=True):
            piece = self._slots[shard][place : place + width] if place >= 0 else ()
            if len(piece) == width:
                row[:] = piece
            else:
                self._across(row, shard, place)
        targets = np.minimum(self._tokens, self._total - blocks * self._tokens)
        return BlockBatch(blocks, ids, targets)

    def _across(self, row: NDArray[np.int64], shard: int, place: int) -> None:
        """Fill a block that begins before the first slot, or ends in another shard or nowhere."""
        row[:] = self._boundary
        filled = -min(place, 0)
        place = max(place, 0)
        while filled < len(row) and shard < len(self._slots):
            piece = self._slots[shard][place : place + len(row) - filled]
            row[filled : filled + len(piece)] = piece
            filled += len(piece)
            shard, place = shard + 1, 0
