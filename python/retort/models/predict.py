"""From texts to logits to labels: the one way to predict, for training, verifying and serving."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from retort.models.checkpoint import Checkpoint


@dataclass(frozen=True)
class Prediction:
    """The most probable label and its probability (softmax of the logits)."""

    label: str
    confidence: float


def logits(model: nn.Module, ids: Tensor, mask: Tensor) -> Tensor:
    """Class scores, float32, [texts, labels].

    Args:
        model: a `TextClassifier`, or what wraps one.
        ids, mask: int64, [texts, tokens], as `Tokeniser.encode` or a reader gives them.
    """
    output: Tensor = model(ids, mask)
    return output


@torch.inference_mode()
def logits_of_all(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """The same for one batch after the other: equal batches give equal bits.

    Args:
        batches: ids and mask of each.
    Returns:
        float32, [texts, labels].
    """
    return torch.cat([logits(model, ids, mask) for ids, mask in batches])


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
