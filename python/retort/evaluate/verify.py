"""A stranger's look at a checkpoint: a fresh process that trusts nothing but the files.

    python -m retort.evaluate.verify --checkpoint DIR --store DIR --logits FILE
    python -m retort.evaluate.verify --checkpoint DIR --store DIR --losses FILE

It verifies every digest of the checkpoint and of the token store that it was made from, loads the
model, computes from the held-out part the logits of a classifier, or the losses of a language
model, compares them bit for bit with those of the trained model, and measures. Exit code 1: others,
or not good enough. Exit code 2: a directory or file is altered or missing; it is named. With `--seal`
the checkpoint, and so all that it was made from, must be the one of that seal.
"""

from retort.core.signals import starting

if __name__ == "__main__":
    starting()

import argparse
import json
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from retort.core.cli import Arguments, Invocation, run, seal_line
from retort.core.digest import open_regular
from retort.core.errors import DataError, SealError, UserError, VerificationError, shown
from retort.core.seal import Sealed
from retort.data.store.store import TokenStore
from retort.evaluate.held_out import (
    held_out_logits,
    held_out_loss_sums,
    measure_held_out,
    measure_held_out_blocks,
)
from retort.evaluate.language_metrics import LanguageMetrics
from retort.evaluate.metrics import Metrics
from retort.models.arithmetic_variables import refuse_arithmetic_variables
from retort.models.checkpoint import (
    Checkpoint,
    LanguageCheckpoint,
    load_checkpoint,
    load_language_model,
)
from retort.models.determinism import fix_arithmetic

_LOGITS = "logits"
_LOSSES = "losses"


@dataclass(frozen=True)
class Demands:
    """How good a checkpoint must be. No accuracy is asked of a language model."""

    min_accuracy: float = 0.0
    max_loss: float | None = None


@dataclass(frozen=True)
class Verified:
    """A checkpoint whose digests hold. `failure` says what is wrong with its results, if anything."""

    sealed: Sealed
    metrics: Metrics | LanguageMetrics
    failure: str | None


def main(arguments: Sequence[str]) -> int:
    """Verify one checkpoint."""
    options = _parser().parse_args(arguments)
    refuse_arithmetic_variables(os.environ)
    resolve = Invocation.from_environment().resolve
    checkpoint, store = resolve(options.checkpoint), resolve(options.store)
    demands = Demands(options.min_accuracy, options.max_loss)
    if options.losses is None:
        logits = resolve(options.logits)
        verified = verify_classifier(checkpoint, store, logits, demands, options.seal)
    else:
        losses = resolve(options.losses)
        verified = verify_language_model(checkpoint, store, losses, demands, options.seal)
    if options.json:
        result = {
            "seal": verified.sealed.seal,
            "path": str(verified.sealed.path),
            "failure": verified.failure,
            "metrics": verified.metrics.to_json(),
        }
        print(json.dumps(result))
    if verified.failure is not None:
        raise VerificationError(verified.failure)
    if not options.json:
        print(f"every digest holds; {_praise(verified.metrics)}", file=sys.stderr)
        print(seal_line(verified.sealed))
    return 0


def verify_classifier(
    checkpoint: Path, store: Path, logits: Path, demands: Demands, seal: str | None = None
) -> Verified:
    """Verify a classifier.

    Args:
        logits: the file of those of the trained model.
        seal: the one that the checkpoint must have.
    Raises:
        UserError: `seal` is not a seal.
        SealError, DataError: a directory or file is altered, missing, or another one.
        VerificationError: a logit is not a finite number.
    """
    loaded = load_checkpoint(checkpoint, seal)
    tokens = open_store(store, loaded)
    expected = read_logits(logits)
    fix_arithmetic(loaded.threads)
    actual = held_out_logits(loaded.model, tokens, loaded.tokenise.max_tokens)
    metrics = measure_held_out(actual, tokens)
    return Verified(loaded.sealed, metrics, find_failure(actual, expected, metrics, demands))


def verify_language_model(
    checkpoint: Path, store: Path, losses: Path, demands: Demands, seal: str | None = None
) -> Verified:
    """Verify a language model.

    Args:
        losses: the file of the sums over each held-out block, by the trained model.
        seal: the one that the checkpoint must have.
    Raises:
        SealError, DataError: a directory or file is altered, missing, or another one.
        UserError: an accuracy is asked for, or `seal` is not a seal.
        VerificationError: a loss is not a finite number.
    """
    if demands.min_accuracy > 0:
        raise UserError("a language model has no accuracy; ask for --max-loss instead")
    loaded = load_language_model(checkpoint, seal)
    tokens = open_store(store, loaded)
    expected = read_losses(losses)
    fix_arithmetic(loaded.threads)
    actual = held_out_loss_sums(loaded.model, tokens, loaded.context)
    metrics = measure_held_out_blocks(actual, tokens, loaded.context)
    return Verified(loaded.sealed, metrics, find_failure(actual, expected, metrics, demands))


def open_store(path: Path, checkpoint: Checkpoint | LanguageCheckpoint) -> TokenStore:
    """The token store that a checkpoint was made from, verified.

    Raises:
        SealError: it is not sealed, truncated, altered, or another store.
        DataError: its tokenizer is not the checkpoint's.
    """
    store = TokenStore.open(path, tokenizer=_tokenizer(checkpoint))
    wanted = checkpoint.sealed.manifest.inputs.get("tokens")
    if wanted != store.sealed.seal:
        raise SealError(
            f"{path}: its seal is {store.sealed.seal}, and the checkpoint was made from {wanted}"
        )
    return store


def find_failure(
    actual: Tensor, expected: Tensor, metrics: Metrics | LanguageMetrics, demands: Demands
) -> str | None:
    """What is wrong with the results, or None.

    Args:
        actual, expected: float32 [documents, labels], or float64 [blocks].
    """
    name, of = (_LOGITS, "documents") if actual.dim() == 2 else (_LOSSES, "blocks")
    if actual.shape != expected.shape:
        return f"{name} have shape {list(actual.shape)}, the trained model's {list(expected.shape)}"
    bits = torch.int32 if actual.dtype == torch.float32 else torch.int64
    rows = (actual.view(bits) != expected.view(bits)).view(len(actual), -1).any(dim=1)
    if rows.any():
        return (
            f"{name} of {int(rows.sum())} of {len(actual)} held-out {of} differ from "
            "the trained model's; another kind of processor or library gives other bits"
        )
    if isinstance(metrics, Metrics) and metrics.accuracy < demands.min_accuracy:
        return (
            f"accuracy {metrics.accuracy:.4f} is under "
            f"evaluate.min_accuracy {demands.min_accuracy}"
        )
    if demands.max_loss is not None and metrics.loss > demands.max_loss:
        return f"loss {metrics.loss:.4f} is over evaluate.max_loss {demands.max_loss}"
    return None


def write_logits(path: Path, logits: Tensor) -> None:
    """Write logits, float32 [documents, labels], for a later comparison."""
    _write(path, _LOGITS, logits)


def read_logits(path: Path) -> Tensor:
    """Read what `write_logits` wrote.

    Raises:
        DataError: the file is missing or is something else.
    """
    return _read(path, _LOGITS, torch.float32)


def write_losses(path: Path, sums: Tensor) -> None:
    """Write sums of losses, float64 [blocks], for a later comparison."""
    _write(path, _LOSSES, sums)


def read_losses(path: Path) -> Tensor:
    """Read what `write_losses` wrote.

    Raises:
        DataError: the file is missing or is something else.
    """
    return _read(path, _LOSSES, torch.float64)


def _tokenizer(checkpoint: Checkpoint | LanguageCheckpoint) -> bytes:
    if isinstance(checkpoint, Checkpoint):
        return checkpoint.tokenise.definition
    return checkpoint.tokenizer


def _write(path: Path, name: str, values: Tensor) -> None:
    path.write_bytes(safetensors.torch.save({name: values.contiguous()}))


def _read(path: Path, name: str, dtype: torch.dtype) -> Tensor:
    try:
        with open_regular(path) as file:
            values = safetensors.torch.load(file.read())[name]
    except OSError as error:
        raise DataError(f"{shown(path)}: cannot be read as {name}: {error.strerror}") from error
    except (KeyError, SafetensorError) as error:
        raise DataError(f"{shown(path)}: cannot be read as {name}: {shown(error)}") from error
    if values.dtype != dtype:
        raise DataError(f"{path}: {name} are {values.dtype}, not {str(dtype).split('.')[-1]}")
    return values


def _praise(metrics: Metrics | LanguageMetrics) -> str:
    if isinstance(metrics, Metrics):
        return (
            f"logits of {metrics.documents} held-out documents equal the trained model's bit for "
            f"bit\naccuracy {metrics.accuracy:.4f}, macro-F1 {metrics.macro_f1:.4f}"
        )
    return (
        f"losses of {metrics.tokens} held-out tokens equal the trained model's bit for bit\n"
        f"loss {metrics.loss:.4f}, perplexity {metrics.perplexity:.2f}"
    )


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
    expected.add_argument("--logits", metavar="FILE", help="of the trained classifier, safetensors")
    expected.add_argument(
        "--losses", metavar="FILE", help="of the trained language model, safetensors"
    )
    parser.add_argument(
        "--seal", metavar="SEAL", help="the seal that the checkpoint must have, sha256:…"
    )
    parser.add_argument("--min-accuracy", type=_finite, default=0.0, metavar="SHARE")
    parser.add_argument("--max-loss", type=_finite, metavar="NATS")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


if __name__ == "__main__":
    run(main)
