"""From texts to logits to labels: the one way to predict, for training, verifying and serving."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from retort.models.checkpoint import Checkpoint

_BATCH = 32


@dataclass(frozen=True)
class Prediction:
    """The most probable label and its probability (softmax of the logits)."""

    label: str
    confidence: float


def logits(model: PreTrainedModel, ids: Tensor, mask: Tensor) -> Tensor:
    """Class scores, float32, [texts, labels].

    Args:
        ids, mask: int64, [texts, tokens], as `Tokeniser.encode` gives them.
    """
    output: Tensor = model(input_ids=ids, attention_mask=mask).logits
    return output


@torch.inference_mode()
def logits_of_all(model: PreTrainedModel, ids: Tensor, mask: Tensor) -> Tensor:
    """The same for many texts, always in the same batches: equal inputs give equal bits.

    Returns:
        float32, [texts, labels].
    """
    pieces = [
        logits(model, ids[start : start + _BATCH], mask[start : start + _BATCH])
        for start in range(0, len(ids), _BATCH)
    ]
    return torch.cat(pieces)


@torch.inference_mode()
def predict(checkpoint: Checkpoint, texts: Sequence[str]) -> list[Prediction]:
    """The label of each text, in order, and how sure the model is of it."""
    if not texts:
        return []
    tokens = checkpoint.tokenise.encode(texts)
    probabilities = logits(checkpoint.model, tokens.ids, tokens.mask).softmax(dim=1)
    confidences, numbers = probabilities.max(dim=1)
    return [
        Prediction(checkpoint.labels[number], confidence)
        for number, confidence in zip(numbers.tolist(), confidences.tolist(), strict=True)
    ]
