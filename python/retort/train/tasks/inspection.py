"""What a person sees of a micro-batch: its arrays, and a record for each text or block, decoded."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from retort.core.digest import JSON
from retort.data.batches.readers import BlockBatch, TextBatch
from retort.data.store.store import StorePart, TokenStore


@dataclass(frozen=True)
class Inspection:
    """
    Attributes:
        arrays: as the reader gave them, by name.
        records: of the texts or blocks, in their order.
    """

    arrays: Mapping[str, NDArray[Any]]
    records: Sequence[Mapping[str, JSON]]


def inspect_texts(
    batch: TextBatch, store: TokenStore, part: StorePart, tokenizer: Tokenizer
) -> Inspection:
    """Texts of a part of a store."""
    records = []
    for row, document in enumerate(batch.documents.tolist()):
        label = int(batch.labels[row])
        tokens = batch.ids[row][batch.mask[row] == 1].tolist()
        records.append(
            {
                "document": document,
                "digest": part.digest(document),
                "label": store.labels[label] if label >= 0 else None,
                "text": tokenizer.decode(tokens, skip_special_tokens=True),
            }
        )
    arrays = {
        "ids": batch.ids,
        "mask": batch.mask,
        "labels": batch.labels,
        "documents": batch.documents,
    }
    return Inspection(arrays, records)


def inspect_blocks(batch: BlockBatch, part: StorePart, tokenizer: Tokenizer) -> Inspection:
    """Blocks of a part of a store, and which documents each is of."""
    width = batch.ids.shape[1] - 1
    records = []
    for row, block in enumerate(batch.blocks.tolist()):
        targets = int(batch.targets[row])
        # Its first input is the slot before its first target; of the first block, none of ours.
        first, end = max(block * width - 1, 0), block * width + targets
        records.append(
            {
                "block": block,
                "documents": [
                    {"document": document, "digest": part.digest(document)}
                    for document in _documents(part, first, end)
                ],
                "text": tokenizer.decode(batch.ids[row, : targets + 1].tolist(), False),
            }
        )
    return Inspection({"ids": batch.ids, "blocks": batch.blocks, "targets": batch.targets}, records)


def _documents(part: StorePart, first: int, end: int) -> Iterator[int]:
    """Numbers of the documents that lie in the slots `first` to `end` of a part's shards in a row."""
    slots = documents = 0
    for shard in part.shards:
        after = slots + len(shard.slots)
        if first < after and end > slots:
            low = np.searchsorted(shard.offsets, max(first - slots, 0), side="right") - 1
            high = np.searchsorted(shard.offsets, min(end, after) - slots, side="left")
            yield from range(documents + int(low), documents + int(high))
        slots, documents = after, documents + len(shard.labels)
