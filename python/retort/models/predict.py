"""From texts to logits to labels: the way of training and verifying, which a server's answers equal bit for bit."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from retort.core.errors import DataError
from retort.models.arithmetic import arithmetic_of, is_portable
from retort.models.checkpoint import Checkpoint
from retort.models.description import UNKNOWN


class TextWithoutTokens(DataError):
    """Nothing is left of the text that a label could be for."""


@dataclass(frozen=True)
class Prediction:
    """The most probable label, or `unknown` where that is not sure enough, and its probability."""

    label: str
    confidence: float


def logits(model: nn.Module, ids: Tensor, mask: Tensor) -> Tensor:
    """Class scores, float32, [texts, labels].

    Args:
        model: a `TextClassifier`, or what wraps one.
        ids, mask: int64, [texts, tokens], as a `TextEncoder` or a reader gives them.
    """
    output: Tensor = model(ids, mask)
    return output


@torch.inference_mode()
def logits_of_each(model: nn.Module, ids: Tensor, mask: Tensor) -> Tensor:
    """Class scores of texts that are computed one at a time, each at its own length.

    The bits of a product depend on its shape: on how many texts share it, and on how much padding.
    Here the text alone decides the shape, so its logits are the same in any company. Portable arithmetic
    gives the same bits in any company, so there all share one pass. So they do on a GPU, which one text
    leaves idle.

    Args:
        ids, mask: int64, [texts, tokens], padded on the right.
    Returns:
        float32, [texts, labels].
    """
    if ids.device.type == "cuda" or is_portable(model):
        return logits(model, ids, mask)
    lengths = mask.sum(dim=1).clamp(min=1).tolist()
    return torch.cat(
        [
            logits(model, ids[row, None, :length], mask[row, None, :length])
            for row, length in enumerate(lengths)
        ]
    )


@torch.inference_mode()
def predict(checkpoint: Checkpoint, texts: Sequence[str]) -> list[Prediction]:
    """The label of each text, in order, and how sure the model is of it.

    Raises:
        TextWithoutTokens: one of them has none, special ones not counted.
        FloatingPointError: a logit is not finite.
    """
    if not texts:
        return []
    ids, mask = map(torch.from_numpy, checkpoint.tokenise.encode(texts))
    if int(mask.sum(dim=1).min()) <= checkpoint.tokenise.special:
        raise TextWithoutTokens("has no token that the model could read")
    scores = logits_of_each(checkpoint.model, ids, mask)
    if not bool(scores.isfinite().all()):
        raise FloatingPointError("the model gave a logit that is not a finite number")
    confidences, numbers = probabilities_of(checkpoint, scores).max(dim=1)
    least = checkpoint.calibration.thresholds or [0.0] * len(checkpoint.labels)
    return [
        Prediction(checkpoint.labels[number] if sure >= least[number] else UNKNOWN, sure)
        for number, sure in zip(numbers.tolist(), confidences.tolist(), strict=True)
    ]


def probabilities_of(checkpoint: Checkpoint, scores: Tensor) -> Tensor:
    """Of each label, float32 [texts, labels], by the checkpoint's calibration.

    Args:
        scores: logits, finite, of the same shape.
    """
    cooled = scores / checkpoint.calibration.temperature
    return arithmetic_of(checkpoint.model).probabilities(cooled)
