"""What a checkpoint says of its model beside the weights: enough to read texts for it, without PyTorch."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args

from retort.core.errors import SealError, shown
from retort.core.machine import processors
from retort.core.seal import Sealed, verify
from retort.data.tokenizers.text_encoder import TextEncoder
from retort.models.config import TASKS, ArithmeticName, TaskName

KIND = "checkpoint"
MODEL = "model.json"
TOKENIZER = "tokenizer.json"
_TASKS: Mapping[str, TaskName] = {task.replace("_", " "): task for task in TASKS}
"""As `model.json` spells them."""


@dataclass(frozen=True)
class ClassifierDescription:
    """A classifier whose weights are not loaded.

    Attributes:
        sealed: the verified directory.
        tokenise, labels, threads: as of `retort.models.checkpoint.Checkpoint`.
        arithmetic: in which it is computed.
    """

    sealed: Sealed
    tokenise: TextEncoder
    labels: tuple[str, ...]
    arithmetic: ArithmeticName
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
    for name in get_args(ArithmeticName):
        if found == name:
            return cast("ArithmeticName", name)
    raise ValueError(f"{MODEL} has arithmetic {found!r}")


def threads_in(facts: Mapping[str, Any]) -> int:
    """How many CPU threads give the sealed bits; as many as there are processors where any number does."""
    if arithmetic_in(facts) == "portable":
        return processors()
    return int(facts["threads"])
