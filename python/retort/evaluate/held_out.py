"""What a classifier makes of the documents of a token store that are held out."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from retort.data.readers import ClassificationReader, Share
from retort.data.store import TokenStore
from retort.evaluate.metrics import Metrics, measure
from retort.models.predict import logits_of_all

HELD_OUT = "held_out"
_BATCH = 32


def held_out_logits(model: PreTrainedModel, store: TokenStore, max_tokens: int) -> Tensor:
    """Logits of the held-out documents in their order, always in the same batches.

    Args:
        max_tokens: length of every text, special tokens included; longer ones are cut.
    Returns:
        float32, [documents, labels].
    """
    return logits_of_all(model, _batches(store, max_tokens))


def measure_held_out(logits: Tensor, store: TokenStore) -> Metrics:
    """Measure logits of the held-out documents."""
    targets = torch.from_numpy(store.part(HELD_OUT).labels)
    return measure(targets, logits.argmax(dim=1), store.labels)


def _batches(store: TokenStore, max_tokens: int) -> Iterator[tuple[Tensor, Tensor]]:
    part = store.part(HELD_OUT)
    reader = ClassificationReader(part, store.facts.special, (max_tokens,), 0, Share(_BATCH))
    for start in range(0, len(part), _BATCH):
        batch = reader.texts(np.arange(start, min(start + _BATCH, len(part))))
        yield torch.from_numpy(batch.ids), torch.from_numpy(batch.mask)
