"""A stranger's look at a checkpoint: a fresh process that trusts nothing but the files.

    python -m retort.evaluate.verify --checkpoint DIR --store DIR --logits FILE

It verifies every digest of the checkpoint and of the token store that it was made from, loads the
model, computes the logits of all held-out documents, compares them bit for bit with those of the
trained model, and measures. Exit code 1: other logits, or too low an accuracy. Exit code 2: a
directory or file is altered or missing; it is named.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from retort.core.cli import Invocation, run, seal_line
from retort.core.errors import DataError, SealError, VerificationError
from retort.data.store import TokenStore
from retort.evaluate.held_out import held_out_logits, measure_held_out
from retort.evaluate.metrics import Metrics
from retort.models.checkpoint import Checkpoint, load_checkpoint
from retort.models.determinism import fix_arithmetic, refuse_arithmetic_variables

LOGITS = "logits"


def main(arguments: Sequence[str]) -> int:
    """Verify one checkpoint."""
    options = _parser().parse_args(arguments)
    refuse_arithmetic_variables(os.environ)
    resolve = Invocation.from_environment().resolve
    checkpoint = load_checkpoint(resolve(options.checkpoint))
    store = open_store(resolve(options.store), checkpoint)
    expected = read_logits(resolve(options.logits))
    fix_arithmetic(checkpoint.threads)
    actual = held_out_logits(checkpoint.model, store, checkpoint.tokenise.max_tokens)
    metrics = measure_held_out(actual, store)
    failure = find_failure(actual, expected, metrics, options.min_accuracy)
    if options.json:
        result = {
            "seal": checkpoint.sealed.seal,
            "path": str(checkpoint.sealed.path),
            "failure": failure,
            "metrics": metrics.to_json(),
        }
        print(json.dumps(result))
    if failure is not None:
        raise VerificationError(failure)
    if not options.json:
        print(
            f"every digest holds; logits of {metrics.documents} held-out documents equal the "
            f"trained model's bit for bit\n"
            f"accuracy {metrics.accuracy:.4f}, macro-F1 {metrics.macro_f1:.4f}",
            file=sys.stderr,
        )
        print(seal_line(checkpoint.sealed))
    return 0


def open_store(path: Path, checkpoint: Checkpoint) -> TokenStore:
    """The token store that a checkpoint was made from, verified.

    Raises:
        SealError: it is not sealed, truncated, altered, or another store.
        DataError: its tokenizer is not the checkpoint's.
    """
    store = TokenStore.open(path, tokenizer=checkpoint.tokenise.definition)
    wanted = checkpoint.sealed.manifest.inputs.get("tokens")
    if wanted != store.sealed.seal:
        raise SealError(
            f"{path}: its seal is {store.sealed.seal}, and the checkpoint was made from {wanted}"
        )
    return store


def find_failure(
    actual: Tensor, expected: Tensor, metrics: Metrics, min_accuracy: float
) -> str | None:
    """What is wrong with the result, or None."""
    if actual.shape != expected.shape:
        return f"logits have shape {list(actual.shape)}, the trained model's {list(expected.shape)}"
    different = (actual.view(torch.int32) != expected.view(torch.int32)).any(dim=1)
    if different.any():
        return (
            f"logits of {int(different.sum())} of {len(actual)} held-out documents differ from "
            "the trained model's; another kind of processor or library gives other bits"
        )
    if metrics.accuracy < min_accuracy:
        return f"accuracy {metrics.accuracy:.4f} is under evaluate.min_accuracy {min_accuracy}"
    return None


def write_logits(path: Path, logits: Tensor) -> None:
    """Write logits for a later comparison."""
    path.write_bytes(safetensors.torch.save({LOGITS: logits.contiguous()}))


def read_logits(path: Path) -> Tensor:
    """Read what `write_logits` wrote.

    Raises:
        DataError: the file is missing or is something else.
    """
    try:
        logits = safetensors.torch.load(path.read_bytes())[LOGITS]
    except (OSError, KeyError, SafetensorError) as error:
        raise DataError(f"{path}: cannot be read as logits: {error}") from error
    if logits.dtype != torch.float32:
        raise DataError(f"{path}: logits are {logits.dtype}, not float32")
    return logits


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="verify", description="Verify a checkpoint as a stranger would."
    )
    parser.add_argument("--checkpoint", required=True, metavar="DIR")
    parser.add_argument(
        "--store", required=True, metavar="DIR", help="the token store that it was made from"
    )
    parser.add_argument(
        "--logits", required=True, metavar="FILE", help="the trained model's, safetensors"
    )
    parser.add_argument("--min-accuracy", type=float, default=0.0, metavar="SHARE")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


if __name__ == "__main__":
    run(main)
