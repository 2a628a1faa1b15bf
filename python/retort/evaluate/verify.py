"""A stranger's look at a checkpoint: a fresh process that trusts nothing but the files.

    python -m retort.evaluate.verify --checkpoint DIR --store DIR --logits FILE
    python -m retort.evaluate.verify --checkpoint DIR --store DIR --losses FILE
    python -m retort.evaluate.verify --checkpoint DIR --store DIR --embeddings FILE

It verifies every digest of the checkpoint and of the token store that it was made from, loads the
model, computes from the held-out part what its task measures (the logits of a classifier, the losses
of a language model), compares that bit for bit with what the trained model said, and measures. Exit code 1: others,
or not good enough. Exit code 2: a directory or file is altered or missing; it is named. With `--seal`
the checkpoint, and so all that it was made from, must be the one of that seal. A model that was trained
on a GPU gave its results there, and `--device cuda` computes them there again.
"""

from retort.core.signals import starting

if __name__ == "__main__":
    starting()

import argparse
import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from retort.core.cli import Arguments, Invocation, run, seal_line
from retort.core.errors import SealError, UserError, VerificationError
from retort.core.seal import Sealed
from retort.data.store.store import TokenStore
from retort.evaluate.embeddings import EMBEDDINGS, HeldOutTopics
from retort.evaluate.held_out import HeldOutBlocks, HeldOutTexts
from retort.evaluate.task import (
    LOGITS,
    LOSSES,
    Demands,
    Loaded,
    Measured,
    TrainedModel,
    VerifiedTask,
    results_of_all,
)
from retort.models.arithmetic import is_portable
from retort.models.arithmetic_variables import refuse_arithmetic_variables
from retort.models.checkpoint import load_checkpoint, load_language_model
from retort.models.config import TASKS, TaskName
from retort.models.determinism import fix_arithmetic
from retort.models.embeddings import load_embedder

VERIFIED: Mapping[TaskName, VerifiedTask[Any]] = {
    "classifier": VerifiedTask(
        TASKS["classifier"],
        LOGITS,
        load=load_checkpoint,
        held_out=lambda checkpoint, store, device: HeldOutTexts(
            store, checkpoint.tokenise.max_tokens, device
        ),
    ),
    "language_model": VerifiedTask(
        TASKS["language_model"],
        LOSSES,
        load=load_language_model,
        held_out=lambda checkpoint, store, device: HeldOutBlocks(store, checkpoint.context, device),
    ),
    "embeddings": VerifiedTask(
        TASKS["embeddings"],
        EMBEDDINGS,
        load=load_embedder,
        held_out=lambda checkpoint, store, device: HeldOutTopics(
            store, checkpoint.tokenise.max_tokens, device
        ),
    ),
}
"""How each task of `retort.models.config.TASKS` is verified: by a flag of the name of its results."""


@dataclass(frozen=True)
class Verified:
    """A checkpoint whose digests hold. `failure` says what is wrong with its results, if anything."""

    sealed: Sealed
    metrics: Measured
    failure: str | None


def main(arguments: Sequence[str]) -> int:
    """Verify one checkpoint."""
    options = vars(_parser().parse_args(arguments))
    resolve = Invocation.from_environment().resolve
    task = next(task for task in VERIFIED.values() if options[task.file.name] is not None)
    verified = verify_checkpoint(
        task,
        resolve(options["checkpoint"]),
        resolve(options["store"]),
        resolve(options[task.file.name]),
        demands=Demands(options["min_accuracy"], options["max_loss"]),
        device=_device(options["device"]),
        seal=options["seal"],
    )
    if options["json"]:
        result = {
            "seal": verified.sealed.seal,
            "path": str(verified.sealed.path),
            "failure": verified.failure,
            "metrics": verified.metrics.to_json(),
        }
        print(json.dumps(result))
    if verified.failure is not None:
        raise VerificationError(verified.failure)
    if not options["json"]:
        print(
            f"every digest holds; the held-out {task.file.name} equal the trained model's bit for "
            f"bit\n{verified.metrics.line()}",
            file=sys.stderr,
        )
        print(seal_line(verified.sealed))
    return 0


def verify_checkpoint(
    task: VerifiedTask[Loaded],
    checkpoint: Path,
    store: Path,
    results: Path,
    *,
    demands: Demands,
    device: torch.device,
    seal: str | None = None,
) -> Verified:
    """Verify a checkpoint of a task.

    Args:
        results: the file of those of the trained model.
        device: of the kind that the trained model was on.
        seal: the one that the checkpoint must have.
    Raises:
        UserError: an accuracy is asked for where there is none, `seal` is not a seal, or the environment changes the
            arithmetic.
        SealError, DataError: a directory or file is altered, missing, or another one.
        VerificationError: a result is not a finite number.
    """
    if demands.min_accuracy > 0 and "accuracy" not in task.rules.metrics:
        raise UserError(f"{task.rules.model} has no accuracy; ask for --max-loss instead")
    loaded = task.load(checkpoint, seal)
    portable = is_portable(loaded.model)
    if not portable:
        refuse_arithmetic_variables(os.environ)
    tokens = open_store(store, loaded)
    expected = task.file.read(results)
    fix_arithmetic(loaded.threads, portable=portable)
    held_out = task.held_out(loaded, tokens, device)
    actual = results_of_all(held_out, loaded.model.to(device))
    metrics = held_out.measure(actual)
    failure = task.file.difference(actual, expected) or metrics.missed(demands)
    return Verified(loaded.sealed, metrics, failure)


def open_store(path: Path, checkpoint: TrainedModel) -> TokenStore:
    """The token store that a checkpoint was made from, verified.

    Raises:
        SealError: it is not sealed, truncated, altered, or another store.
        DataError: its tokenizer is not the checkpoint's.
    """
    store = TokenStore.open(path, tokenizer=checkpoint.tokenizer)
    wanted = checkpoint.sealed.manifest.inputs.get("tokens")
    if wanted != store.sealed.seal:
        raise SealError(
            f"{path}: its seal is {store.sealed.seal}, and the checkpoint was made from {wanted}"
        )
    return store


def _device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: there is no CUDA device here; verify where there is one")
    return torch.device(name)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise argparse.ArgumentTypeError(f"{text} is no bound: give a finite number")
    return number


def _parser() -> argparse.ArgumentParser:
    parser = Arguments(prog="verify", description="Verify a checkpoint as a stranger would.")
    parser.add_argument("--checkpoint", required=True, metavar="DIR")
    parser.add_argument(
        "--store", required=True, metavar="DIR", help="the token store that it was made from"
    )
    expected = parser.add_mutually_exclusive_group(required=True)
    for task in VERIFIED.values():
        expected.add_argument(
            f"--{task.file.name}",
            metavar="FILE",
            help=f"of {task.rules.model}, trained; safetensors",
        )
    parser.add_argument(
        "--seal", metavar="SEAL", help="the seal that the checkpoint must have, sha256:…"
    )
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), default="cpu", help="what it was trained on (cpu)"
    )
    parser.add_argument("--min-accuracy", type=_finite, default=0.0, metavar="SHARE")
    parser.add_argument("--max-loss", type=_finite, metavar="NATS")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


if __name__ == "__main__":
    run(main)
