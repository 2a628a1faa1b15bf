"""Micro-batches from a token store. A reader has no state: step and shard name a micro-batch.

Both readers go through the samples of one epoch after the other in `EpochOrder`. A step takes the
next `batch` samples, in as many equal micro-batches as it has logical shards. Who computes a shard
is not the reader's matter: all ranks together see every sample once an epoch, whatever their
number, and a run may go on with another number of ranks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retort.core.errors import ConfigError, DataError
from retort.data.batches.epoch_order import EpochOrder
from retort.data.batches.grouping import Grouping, balanced, deal
from retort.data.store.store import StorePart
from retort.data.tokenizers.collator import Collator
from retort.data.tokenizers.special_tokens import SpecialTokens


@dataclass(frozen=True)
class TextBatch:
    """Texts for a classifier.

    Attributes:
        documents: int64 [texts], their numbers in the part.
        ids: int64 [texts, length], token numbers with special tokens, padded on the right.
        mask: int64, same shape; 1 where there is a token, 0 where there is padding.
        labels: int64 [texts]; -1 without a label.
        shards: where the texts of each shard begin and the last end, int64 [shards + 1].
    """

    documents: NDArray[np.int64]
    ids: NDArray[np.int64]
    mask: NDArray[np.int64]
    labels: NDArray[np.int64]
    shards: NDArray[np.int64]

    @property
    def tokens(self) -> int:
        """Without padding."""
        return int(self.mask.sum())

    @classmethod
    def joined(cls, batches: "Sequence[TextBatch]") -> "TextBatch":
        """The texts of one after those of another, each padded to the longest of all."""
        width = max(one.ids.shape[1] for one in batches)

        def whole(parts: list[NDArray[np.int64]]) -> NDArray[np.int64]:
            wide = [np.pad(one, ((0, 0), (0, width - one.shape[1]))) for one in parts]
            return np.concatenate(wide)

        return cls(
            np.concatenate([one.documents for one in batches]),
            whole([one.ids for one in batches]),
            whole([one.mask for one in batches]),
            np.concatenate([one.labels for one in batches]),
            _joined([one.shards for one in batches]),
        )


@dataclass(frozen=True)
class BlockBatch:
    """Blocks for a language model: `ids[:, :-1]` are inputs, `ids[:, 1:]` their targets.

    Attributes:
        blocks: int64 [blocks], their numbers in the part.
        ids: int64 [blocks, tokens + 1].
        targets: int64 [blocks], number of targets that count: fewer in the last block of a part,
            which is filled up with boundary tokens.
        shards: where the blocks of each shard begin and the last end, int64 [shards + 1].
    """

    blocks: NDArray[np.int64]
    ids: NDArray[np.int64]
    targets: NDArray[np.int64]
    shards: NDArray[np.int64]

    @property
    def tokens(self) -> int:
        """Inputs."""
        return self.ids.size - len(self.ids)

    @classmethod
    def joined(cls, batches: "Sequence[BlockBatch]") -> "BlockBatch":
        """The blocks of one after those of another."""
        return cls(
            np.concatenate([one.blocks for one in batches]),
            np.concatenate([one.ids for one in batches]),
            np.concatenate([one.targets for one in batches]),
            _joined([one.shards for one in batches]),
        )


def _joined(shards: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Where each shard begins of batches that lie one after another."""
    sizes = np.concatenate([np.diff(one) for one in shards])
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)


@dataclass(frozen=True)
class Shards:
    """How a step is cut: `batch` samples in `shards` micro-batches of equal size.

    Raises:
        ConfigError: they cannot be of equal size.
    """

    batch: int
    shards: int = 1

    def __post_init__(self) -> None:
        if self.batch < 1 or self.shards < 1 or self.batch % self.shards:
            raise ConfigError(
                f"train.batch {self.batch} cannot be cut into {self.shards} equal shards; "
                "choose a train.shards that divides it"
            )

    @property
    def size(self) -> int:
        """Samples in a micro-batch."""
        return self.batch // self.shards


class ClassificationReader:
    """Texts as a collator gives them to a model.

    With a number as `grouping`, texts of about equal length share a micro-batch (see
    `grouping.deal`) inside windows of so many steps. An epoch that ends inside a window shares it
    with the next one. Balanced, the micro-batches of a step have about equally many tokens.
    """

    def __init__(
        self,
        part: StorePart,
        collator: Collator,
        seed: int,
        shards: Shards,
        *,
        grouping: Grouping = 1,
    ) -> None:
        """
        Args:
            grouping: steps in a window; 1 leaves the texts in the order of the epoch.
        Raises:
            ConfigError: windows would be empty.
            DataError: the part is empty.
        """
        if grouping != "balanced" and grouping < 1:
            raise ConfigError(f"a window must have at least one step, not {grouping}")
        if len(part) == 0:
            raise DataError("there are no documents to make batches of")
        self._part = part
        self._collator = collator
        self._order = EpochOrder(len(part), seed)
        self._shards = shards
        self._grouping = grouping
        self._window = -1
        self._documents: NDArray[np.int64] = np.zeros(0, np.int64)

    def batch(self, step: int, shard: int) -> TextBatch:
        """The micro-batch of a shard of a step, both counted from 0, steps over all epochs."""
        return self.texts(self._of_step(step)[shard].copy())

    def labels(self, step: int) -> NDArray[np.int64]:
        """The labels of a whole step, int64 [batch], shard after shard. Reads no text."""
        return self._part.labels[self._of_step(step).ravel()]

    def tokens(self, step: int) -> int:
        """Tokens of a whole step, special ones included, padding and what is cut left out."""
        lengths = self._part.lengths[self._of_step(step).ravel()]
        return int(self._collator.kept(lengths).sum())

    def texts(self, documents: NDArray[np.int64]) -> TextBatch:
        """The batch of the documents with these numbers, in their order."""
        tokens = self._collator.batch([self._part.document(one) for one in documents.tolist()])
        labels = self._part.labels[documents]
        return TextBatch(documents, tokens.ids, tokens.mask, labels, np.array([0, len(documents)]))

    def _of_step(self, step: int) -> NDArray[np.int64]:
        """The documents of a step, [shards, size]."""
        steps = 1 if self._grouping == "balanced" else self._grouping
        window, place = divmod(step, steps)
        if window != self._window:
            batch, shards, size = self._shards.batch, self._shards.shards, self._shards.size
            count = steps * batch
            documents = self._order.samples(window * count, count)
            if self._grouping == "balanced":
                kept = self._collator.kept(self._part.lengths[documents])
                documents = documents[balanced(kept, shards)]
            elif steps > 1:
                padded = self._collator.padded(self._part.lengths[documents])
                seed = self._order.seed
                documents = documents[deal(padded, shards, size, seed=seed, window=window)]
            self._documents = documents.reshape(steps, shards, size)
            self._window = window
        found: NDArray[np.int64] = self._documents[place]
        return found


class BlockReader:
    """Blocks of the documents of a part laid end to end, with a boundary token around each.

    Block k holds the tokens k * N .. k * N + N of that stream: neighbours share one token, the
    last target of one being the first input of the next. So every token of every document, and
    the boundary after it, is a target exactly once an epoch.
    """

    def __init__(
        self, part: StorePart, special: SpecialTokens, tokens: int, seed: int, shards: Shards
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
        self._order = EpochOrder(self.length, seed)
        self._shards = shards

    def batch(self, step: int, shard: int) -> BlockBatch:
        """The micro-batch of a shard of a step, both counted from 0, steps over all epochs."""
        size = self._shards.size
        first = step * self._shards.batch + shard * size
        return self.blocks(self._order.samples(first, size).copy())

    def targets(self, step: int) -> int:
        """Targets that count in a whole step. Reads no token."""
        batch = self._shards.batch
        return int(self._counted(self._order.samples(step * batch, batch)).sum())

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
        return BlockBatch(blocks, ids, self._counted(blocks), np.array([0, len(blocks)]))

    def _counted(self, blocks: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.minimum(self._tokens, self._total - blocks * self._tokens)

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
