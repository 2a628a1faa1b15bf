"""How good predictions are, from one confusion matrix."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

_Z_95 = 1.959963984540054


@dataclass(frozen=True)
class ClassMetrics:
    """One label: of those predicted, how many were right; of those there are, how many were found.

    A share of nothing is 0.
    """

    label: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class Metrics:
    """Figures of one set of documents.

    Attributes:
        interval: 95 % Wilson score interval of the accuracy.
        macro_f1: mean of the labels' F1, each label counting the same.
        confusion: [label][predicted label], counts.
    """

    documents: int
    accuracy: float
    interval: tuple[float, float]
    macro_f1: float
    labels: tuple[ClassMetrics, ...]
    confusion: tuple[tuple[int, ...], ...]

    def to_json(self) -> dict[str, Any]:
        """A JSON object, read back by `from_json`."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Metrics":
        """The inverse of `to_json`, also after a round through JSON text."""
        return cls(
            documents=value["documents"],
            accuracy=value["accuracy"],
            interval=tuple(value["interval"]),
            macro_f1=value["macro_f1"],
            labels=tuple(ClassMetrics(**label) for label in value["labels"]),
            confusion=tuple(tuple(row) for row in value["confusion"]),
        )


def confusion_matrix(targets: Tensor, predictions: Tensor, classes: int) -> Tensor:
    """Counts of each pair.

    Args:
        targets, predictions: int64, [documents], values below `classes`.
    Returns:
        int64, [classes, classes]: row = true label, column = predicted label.
    """
    pairs = targets * classes + predictions
    return torch.bincount(pairs, minlength=classes * classes).view(classes, classes)


def measure(targets: Tensor, predictions: Tensor, labels: Sequence[str]) -> Metrics:
    """All figures for predictions of at least one document.

    Args:
        targets, predictions: int64, [documents]: numbers of labels.
    """
    matrix = confusion_matrix(targets, predictions, len(labels))
    counts = matrix.tolist()
    right = [row[number] for number, row in enumerate(counts)]
    there_are = matrix.sum(dim=1).tolist()
    predicted = matrix.sum(dim=0).tolist()
    classes = tuple(
        ClassMetrics(
            label=label,
            precision=_share(right[number], predicted[number]),
            recall=_share(right[number], there_are[number]),
            f1=_share(2 * right[number], predicted[number] + there_are[number]),
            support=there_are[number],
        )
        for number, label in enumerate(labels)
    )
    total = sum(there_are)
    return Metrics(
        documents=total,
        accuracy=sum(right) / total,
        interval=wilson_interval(sum(right), total),
        macro_f1=sum(one.f1 for one in classes) / len(classes),
        labels=classes,
        confusion=tuple(tuple(row) for row in counts),
    )


def wilson_interval(right: int, total: int) -> tuple[float, float]:
    """95 % score interval of a share (Wilson 1927), which stays inside 0 .. 1."""
    share, square = right / total, _Z_95**2
    centre = share + square / (2 * total)
    half = _Z_95 * math.sqrt(share * (1 - share) / total + square / (4 * total**2))
    scale = 1 + square / total
    low, high = (centre - half) / scale, (centre + half) / scale
    return max(0.0, min(low, share)), min(1.0, max(high, share))  # rounding may cross the share


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
