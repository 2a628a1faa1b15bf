"""What an export changes of a classifier, and what that costs on the documents that were held out."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor

from retort.core.digest import JSON, canonical_json
from retort.evaluate.metrics import Metrics, measure
from retort.export.temperature import fitted_temperature, is_given, thresholds
from retort.models.checkpoint import ARCHITECTURE, WEIGHTS, Checkpoint, stored_weights
from retort.models.config import PrecisionName
from retort.models.description import MODEL, PLAIN, TOKENIZER, Calibration
from retort.models.fixed import (
    encoder_layers,
    fix_layers,
    fix_quantized,
    quantized_layers,
    stored_quantized,
)
from retort.models.predict import probabilities_of

_BACKBONE = "backbone."


@dataclass(frozen=True)
class Wanted:
    """What an export is to be.

    Attributes:
        precision: of the encoder's products.
        calibrate: whether a temperature is fitted.
        unknown: the share of right answers that may be withheld, so that wrong ones are; None: all are given.
    """

    precision: PrecisionName = "float32"
    calibrate: bool = False
    unknown: float | None = None


@dataclass(frozen=True)
class Change:
    """What an export costs, on held-out documents.

    Attributes:
        before, after: figures of the trained model, and of the export; both with the temperature that each has.
        answers: documents that have another label.
        shift: the largest change of a probability, both without a temperature.
        unknown: documents for which no label is given; wrong: of these, those whose label would have been wrong.
    """

    before: Metrics
    after: Metrics
    answers: int
    shift: float
    unknown: int = 0
    wrong: int = 0

    @property
    def loss_of_accuracy(self) -> float:
        """Above 0 where the export is worse."""
        return self.before.accuracy - self.after.accuracy

    def lines(self) -> list[str]:
        """For whoever exports."""
        before, after = self.before, self.after
        total = after.documents
        found = [
            f"accuracy {before.accuracy:.4f} -> {after.accuracy:.4f} on {total} held-out documents; "
            f"{self.answers} answers differ, a probability by at most {self.shift:.2g}",
            f"loss {before.loss:.4f} -> {after.loss:.4f}, calibration error "
            f"{before.calibration_error:.4f} -> {after.calibration_error:.4f}",
        ]
        if self.unknown:
            found.append(
                f"unknown: {self.unknown} of {total}, of which {self.wrong} would be wrong"
            )
        return found

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return asdict(self)


def convert(model: Checkpoint, precision: PrecisionName) -> dict[str, Tensor]:
    """Have a trained classifier compute in another precision from now on.

    Args:
        model: in portable arithmetic, unless the precision is float32.
    Returns:
        Its weights, as a checkpoint of this precision stores them.
    """
    weights = stored_weights(model.model)
    if precision == "float32":
        return weights
    if precision == "bfloat16":
        for name, weight in encoder_layers(model.model).items():
            weights[f"{_BACKBONE}{name}.weight"] = weight.bfloat16()
        fix_layers(model.model, rounded=True)
        return weights
    layers = quantized_layers(model.model)
    fix_quantized(model.model, layers)
    return weights | stored_quantized(layers)


def calibrated(
    checkpoint: Checkpoint, logits: Tensor, targets: NDArray[np.int64], wanted: Wanted
) -> Calibration:
    """The calibration of an export by its logits of the held-out documents."""
    temperature = PLAIN.temperature
    if wanted.calibrate:
        temperature = fitted_temperature(logits.numpy(), targets)
    if wanted.unknown is None:
        return Calibration(temperature)
    found = _probabilities(checkpoint, logits, temperature)
    return Calibration(temperature, thresholds(found, targets, wanted.unknown))


def compare(
    checkpoint: Checkpoint,
    before: Tensor,
    after: Tensor,
    targets: NDArray[np.int64],
    calibration: Calibration,
) -> Change:
    """What an export costs.

    Args:
        before, after: logits of the held-out documents, float32 [documents, labels].
        targets: their labels' numbers.
        calibration: of the export.
    Raises:
        VerificationError: a logit is not a finite number.
    """
    plain = [_probabilities(checkpoint, logits, 1.0) for logits in (before, after)]
    cooled = after / calibration.temperature
    found = _probabilities(checkpoint, after, calibration.temperature)
    given = is_given(found, calibration.thresholds or [0.0] * len(checkpoint.labels))
    right = found.argmax(axis=1) == targets
    numbers = torch.from_numpy(targets)
    return Change(
        before=measure(numbers, before, checkpoint.labels),
        after=measure(numbers, cooled, checkpoint.labels),
        answers=int((before.argmax(dim=1) != after.argmax(dim=1)).sum()),
        shift=float(np.abs(plain[0] - plain[1]).max()),
        unknown=int((~given).sum()),
        wrong=int((~given & ~right).sum()),
    )


def files_of(
    checkpoint: Checkpoint,
    weights: Mapping[str, Tensor],
    precision: PrecisionName,
    calibration: Calibration,
) -> dict[str, bytes]:
    """The files of an export's checkpoint.

    Args:
        checkpoint: that it is made from.
        weights: as `convert` gives them.
    """
    facts: dict[str, JSON] = json.loads(checkpoint.sealed.read(MODEL))
    if precision != "float32":
        facts["precision"] = precision
    if calibration != PLAIN:
        facts["calibration"] = {
            "temperature": calibration.temperature,
            "thresholds": list(calibration.thresholds),
        }
    return {
        **{name: checkpoint.sealed.read(name) for name in (ARCHITECTURE, TOKENIZER)},
        MODEL: canonical_json(facts),
        WEIGHTS: safetensors.torch.save({name: one.contiguous() for name, one in weights.items()}),
    }


def _probabilities(
    checkpoint: Checkpoint, logits: Tensor, temperature: float
) -> NDArray[np.float32]:
    """As a server computes them."""
    cooled = replace(checkpoint, calibration=Calibration(temperature))
    found: NDArray[np.float32] = probabilities_of(cooled, logits).numpy()
    return found
