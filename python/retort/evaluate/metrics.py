"""How good a classifier's logits are."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from retort.core.errors import VerificationError
from retort.evaluate.calibration import Bin, calibration_error, reliability
from retort.evaluate.elementary import exp, log_softmax
from retort.evaluate.intervals import wilson_interval
from retort.evaluate.ranking import roc_auc
from retort.evaluate.task import Demands


@dataclass(frozen=True)
class ClassMetrics:
    """One label: of those predicted, how many were right; of those there are, how many were found.

    A share of nothing is 0.

    Attributes:
        auc: area under the ROC curve of this label against the rest, by the probability that the
            model gives it; None if all documents have the label, or none has.
    """

    label: str
    precision: float
    recall: float
    f1: float
    auc: float | None
    support: int


@dataclass(frozen=True)
class Averages:
    """Precision, recall and F1 of all labels together."""

    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Metrics:
    """Figures of one set of documents.

    Attributes:
        interval: 95 % Wilson score interval of the accuracy.
        macro: means over labels, each label counting the same.
        micro: of all documents alike; with one label a document all three are the accuracy.
        macro_auc: mean over the labels that have one; None if none has.
        loss: mean negative log-likelihood of the true label, in nats.
        calibration_error: expected, over `bins`.
        bins: of a reliability diagram.
        confusion: [label][predicted label], counts.
    """

    documents: int
    accuracy: float
    interval: tuple[float, float]
    macro: Averages
    micro: Averages
    macro_auc: float | None
    loss: float
    calibration_error: float
    labels: tuple[ClassMetrics, ...]
    bins: tuple[Bin, ...]
    confusion: tuple[tuple[int, ...], ...]

    @property
    def macro_f1(self) -> float:
        """Mean of the labels' F1."""
        return self.macro.f1

    def figures(self) -> dict[str, float]:
        """What is worth a curve over the steps, by name."""
        auc = {} if self.macro_auc is None else {"macro_auc": self.macro_auc}
        return {
            "accuracy": self.accuracy,
            "macro_f1": self.macro.f1,
            **auc,
            "loss": self.loss,
            "calibration_error": self.calibration_error,
        }

    def line(self) -> str:
        """As `Measured.line`."""
        low, high = self.interval
        return (
            f"accuracy {self.accuracy:.4f}, macro-F1 {self.macro_f1:.4f} on {self.documents} held-out "
            f"documents (95 % interval of the accuracy {low:.3f} to {high:.3f})"
        )

    def missed(self, demands: Demands) -> str | None:
        """As `Measured.missed`."""
        return demands.missed(accuracy=self.accuracy, loss=self.loss)

    def to_json(self) -> dict[str, Any]:
        """A JSON object, read back by `from_json`."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Metrics":
        """The inverse of `to_json`, also after a round through JSON text."""
        return cls(
            documents=value["documents"],
            accuracy=value["accuracy"],
            interval=(value["interval"][0], value["interval"][1]),
            macro=Averages(**value["macro"]),
            micro=Averages(**value["micro"]),
            macro_auc=value["macro_auc"],
            loss=value["loss"],
            calibration_error=value["calibration_error"],
            labels=tuple(ClassMetrics(**label) for label in value["labels"]),
            bins=tuple(Bin(**one) for one in value["bins"]),
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


def measure(targets: Tensor, logits: Tensor, labels: Sequence[str]) -> Metrics:
    """All figures for the logits of at least one document.

    Probabilities are computed in float64, and sums of them are rounded once, so that neither the
    order of the documents nor the number of threads nor the processor changes a figure.

    Args:
        targets: int64, [documents]: numbers of labels.
        logits: float32, [documents, labels]. Of equal highest ones the first label is predicted.
    Raises:
        VerificationError: a logit is not a finite number.
    """
    wrong = int((~logits.isfinite()).any(dim=1).sum())
    if wrong:
        raise VerificationError(
            f"logits of {wrong} of {len(logits)} held-out documents are not finite numbers"
        )
    predictions = logits.argmax(dim=1)
    log_probabilities = log_softmax(logits.double().numpy())
    probabilities = exp(log_probabilities)
    numbers = targets.numpy()
    rows = np.arange(len(numbers))

    matrix = confusion_matrix(targets, predictions, len(labels))
    classes = _classes(matrix, labels, probabilities, numbers)
    aucs = [one.auc for one in classes if one.auc is not None]
    right, total = int(matrix.trace()), len(numbers)
    accuracy = right / total
    bins = reliability(probabilities[rows, predictions.numpy()], (predictions == targets).numpy())
    return Metrics(
        documents=total,
        accuracy=accuracy,
        interval=wilson_interval(right, total),
        macro=Averages(
            precision=_mean([one.precision for one in classes]),
            recall=_mean([one.recall for one in classes]),
            f1=_mean([one.f1 for one in classes]),
        ),
        micro=Averages(accuracy, accuracy, accuracy),
        macro_auc=_mean(aucs) if aucs else None,
        loss=_mean((-log_probabilities[rows, numbers]).tolist()),
        calibration_error=calibration_error(bins),
        labels=classes,
        bins=bins,
        confusion=tuple(tuple(row) for row in matrix.tolist()),
    )


def _classes(
    matrix: Tensor,
    labels: Sequence[str],
    probabilities: np.ndarray[Any, np.dtype[np.float64]],
    targets: np.ndarray[Any, np.dtype[np.int64]],
) -> tuple[ClassMetrics, ...]:
    right = matrix.diagonal().tolist()
    there_are = matrix.sum(dim=1).tolist()
    predicted = matrix.sum(dim=0).tolist()
    return tuple(
        ClassMetrics(
            label=label,
            precision=_share(right[number], predicted[number]),
            recall=_share(right[number], there_are[number]),
            f1=_share(2 * right[number], predicted[number] + there_are[number]),
            auc=roc_auc(probabilities[:, number], targets == number),
            support=there_are[number],
        )
        for number, label in enumerate(labels)
    )


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
