"""What a checkpoint says of its model beside the weights: enough to read texts for it, without PyTorch."""

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args

from retort.core.errors import SealError, shown
from retort.core.machine import processors
from retort.core.seal import Sealed, verify
from retort.data.tokenizers.text_encoder import TextEncoder
from retort.models.config import TASKS, ArithmeticName, PrecisionName, TaskName

KIND = "checkpoint"
MODEL = "model.json"
TOKENIZER = "tokenizer.json"
_TASKS: Mapping[str, TaskName] = {task.replace("_", " "): task for task in TASKS}
"""As `model.json` spells them."""
UNKNOWN = "unknown"
"""What is said of a text for which no label is sure enough."""
NameT = TypeVar("NameT", bound=str)


@dataclass(frozen=True)
class Calibration:
    """How logits become probabilities, and which of these are sure enough.

    Attributes:
        temperature: that logits are divided by. Guo and others, "On Calibration of Modern Neural Networks", 2017.
        thresholds: of each label, the probability from which on it is given; none: whatever it is.
    """

    temperature: float = 1.0
    thresholds: tuple[float, ...] = ()


PLAIN = Calibration()


@dataclass(frozen=True)
class ClassifierDescription:
    """A classifier whose weights are not loaded.

    Attributes:
        sealed: the verified directory.
        tokenise, labels, threads: as of `retort.models.checkpoint.Checkpoint`.
        arithmetic, precision: in which it is computed.
        calibration: of its logits.
    """

    sealed: Sealed
    tokenise: TextEncoder
    labels: tuple[str, ...]
    arithmetic: ArithmeticName
    precision: PrecisionName
    calibration: Calibration
    threads: int


def describe_classifier(path: Path, seal: str | None = None) -> ClassifierDescription:
    """Verify a classifier's checkpoint, and read all but its weights.

    Args:
        seal: the one that it must have; see `retort.core.seal.verify`.
    Raises:
        UserError: `seal` is not a seal.
        SealError: it is not sealed, truncated, altered, has another seal, or is not a classifier's checkpoint.
    """
    with described(path, "classifier", seal) as (sealed, facts):
        return ClassifierDescription(
            sealed,
            tokenizer_in(sealed, facts),
            labels_in(facts),
            arithmetic_in(facts),
            precision_in(facts),
            calibration_in(facts),
            threads_in(facts),
        )


@contextmanager
def described(
    path: Path, task: TaskName, seal: str | None
) -> Iterator[tuple[Sealed, Mapping[str, Any]]]:
    """A verified checkpoint of a task, and its `model.json`.

    What its files then turn out not to fit is the checkpoint's fault, and raised as `SealError`.
    """
    sealed = verify(path, kind=KIND, seal=seal)
    try:
        facts = json.loads(sealed.read(MODEL))
        found = _TASKS.get(facts["task"])
        if found is None:
            raise ValueError(f"{MODEL} has task {facts['task']!r}")
        if found != task:
            raise SealError(
                f"{shown(path)}: is the checkpoint of {TASKS[found].model}, and "
                f"{TASKS[task].model} is needed"
            )
        yield sealed, facts
    except SealError:
        raise  # of another task, not finite, or a file that was altered after the verification
    except Exception as error:  # whatever libraries do with what the files say
        detail = shown(" ".join(str(error).split()))
        raise SealError(
            f"{shown(path)}: is sealed but not a checkpoint of ours: {detail}"
        ) from error


def tokenizer_in(sealed: Sealed, facts: Mapping[str, Any]) -> TextEncoder:
    """What turns texts into a model's input."""
    return TextEncoder(
        sealed.read(TOKENIZER),
        int(facts["max_tokens"]),
        str(sealed.path / TOKENIZER),
        facts.get("special_in_text", "special"),  # as all did that do not say
    )


def labels_in(facts: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the classes, in the order of the logits."""
    return tuple(str(label) for label in facts["labels"])


def arithmetic_in(facts: Mapping[str, Any]) -> ArithmeticName:
    """In which a model is computed, by its `model.json`.

    Raises:
        ValueError: there is none of that name.
    """
    found = facts.get("arithmetic", "native")  # as all were that do not say
    return _one_of(get_args(ArithmeticName), "arithmetic", found)


def precision_in(facts: Mapping[str, Any]) -> PrecisionName:
    """Of the factors of an encoder's products, by its `model.json`.

    Raises:
        ValueError: there is none of that name, or not in the model's arithmetic.
    """
    found = facts.get("precision", "float32")
    precision: PrecisionName = _one_of(get_args(PrecisionName), "precision", found)
    if precision != "float32" and arithmetic_in(facts) != "portable":
        raise ValueError(f"{MODEL} has precision {precision}, which is for portable arithmetic")
    return precision


def calibration_in(facts: Mapping[str, Any]) -> Calibration:
    """How a classifier's logits are read, by its `model.json`.

    Raises:
        ValueError: the temperature is not above 0, or there are not as many thresholds as labels.
    """
    said = facts.get("calibration")
    if said is None:
        return PLAIN
    temperature, thresholds = float(said["temperature"]), tuple(map(float, said["thresholds"]))
    if not 0 < temperature < math.inf:
        raise ValueError(f"{MODEL} has temperature {temperature}")
    if thresholds and len(thresholds) != len(labels_in(facts)):
        raise ValueError(
            f"{MODEL} has {len(thresholds)} thresholds for {len(labels_in(facts))} labels"
        )
    return Calibration(temperature, thresholds)


def _one_of(names: tuple[NameT, ...], what: str, found: object) -> NameT:
    for name in names:
        if found == name:
            return name
    raise ValueError(f"{MODEL} has {what} {found!r}")


def threads_in(facts: Mapping[str, Any]) -> int:
    """How many CPU threads give the sealed bits; as many as there are processors where any number does."""
    if arithmetic_in(facts) == "portable":
        return processors()
    return int(facts["threads"])
