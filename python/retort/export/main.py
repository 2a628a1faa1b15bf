"""`//serve:export`: from a classifier's checkpoint, one that is served in another precision, or calibrated.

Both are asked about every document that was held out in training, and what the export costs is sealed with it; one that
costs too much is not made. `//train:verify` holds its logits bit for bit, as those of any checkpoint.
"""

from retort.core.signals import starting

if __name__ == "__main__":
    starting()

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from retort.core.cli import Arguments, Invocation, run, seal_line
from retort.core.digest import canonical_json
from retort.core.errors import SealError, UserError, VerificationError, shown
from retort.core.seal import MANIFEST, Sealed, read_manifest, sealing, verify
from retort.data.store.store import TokenStore
from retort.evaluate.held_out import HELD_OUT, HeldOutTexts
from retort.evaluate.task import LOGITS, results_of_all
from retort.evaluate.verify import open_store
from retort.export.exported import Change, Wanted, calibrated, compare, convert, files_of
from retort.models.arithmetic import is_portable
from retort.models.arithmetic_variables import refuse_arithmetic_variables
from retort.models.checkpoint import Checkpoint, load_checkpoint
from retort.models.description import KIND, MODEL, PLAIN, TOKENIZER, UNKNOWN
from retort.models.determinism import fix_arithmetic

EXPORT = "export.json"
"""What the export is of, what it was to be, and what it costs."""
ONNX = "onnx"
"""The kind of a directory with a graph."""
_STORE = "tokens"
_MOST_SHIFT = 1e-3
"""Of a probability, between kernels and the libraries that compute graphs."""


def main(arguments: Sequence[str]) -> int:
    """Export one checkpoint."""
    options = _parse(arguments)
    resolve = Invocation.from_environment().resolve
    source, target = resolve(options.checkpoint), resolve(options.out)
    store = resolve(options.store) if options.store else source.parent / _STORE
    wanted = Wanted(options.precision, options.calibrate, options.unknown)
    if options.onnx and wanted != Wanted():
        raise UserError("--onnx is of the model as it was trained; leave the others out")
    if not options.onnx and wanted == Wanted():
        raise UserError(
            "nothing is to be changed; give --precision, --calibrate, --unknown or --onnx"
        )
    _refuse_trained(target)
    checkpoint = load_checkpoint(source, options.seal)
    most = options.max_accuracy_loss
    if options.onnx:
        sealed, change = export_onnx(checkpoint, store, target, most=most)
    else:
        sealed, change = export(checkpoint, store, target, wanted, most=most)
    for line in change.lines():
        print(line, file=sys.stderr)
    print(seal_line(sealed))
    return 0


def export(
    checkpoint: Checkpoint, store: Path, target: Path, wanted: Wanted, *, most: float
) -> tuple[Sealed, Change]:
    """Make a checkpoint of another, which can compute only in its new precision afterwards.

    Args:
        checkpoint: as it was trained.
        store: the token store that it was made from.
        target: a directory that is not there, or an export that is replaced.
        most: by how much its accuracy on the held-out documents may be below that of what it is made from.
    Raises:
        UserError: the checkpoint has no such form, or is an export itself.
        SealError, DataError: a directory is altered, missing, or another one.
        VerificationError: the export is too much worse; nothing is written.
    """
    _check(checkpoint, wanted)
    held_out, tokens = _held_out(checkpoint, store)
    before = results_of_all(held_out, checkpoint.model)
    weights = convert(checkpoint, wanted.precision)
    after = before if wanted.precision == "float32" else results_of_all(held_out, checkpoint.model)
    targets = tokens.part(HELD_OUT).labels
    calibration = calibrated(checkpoint, after, targets, wanted)
    change = compare(checkpoint, before, after, targets, calibration)
    _refuse_worse(change, most)
    files = files_of(checkpoint, weights, wanted.precision, calibration)
    with _sealing(checkpoint, tokens, target, KIND, most) as folder:
        for name, content in files.items():
            (folder / name).write_bytes(content)
        (folder / EXPORT).write_bytes(canonical_json(change.to_json()))
        LOGITS.write(LOGITS.path(folder), after)
    return verify(target, kind=KIND), change


def export_onnx(
    checkpoint: Checkpoint, store: Path, target: Path, *, most: float
) -> tuple[Sealed, Change]:
    """Make an ONNX graph of a checkpoint, for servers that are not ours; for the rest see `export`.

    Raises:
        VerificationError: a probability differs by more than 0.001, too.
    """
    from retort.export.onnx_graph import GRAPH, OnnxModel, write_graph

    _check(checkpoint, Wanted())
    held_out, tokens = _held_out(checkpoint, store)
    before = results_of_all(held_out, checkpoint.model)
    with _sealing(checkpoint, tokens, target, ONNX, most) as folder:
        write_graph(checkpoint, folder / GRAPH)
        after = results_of_all(held_out, OnnxModel(folder / GRAPH))
        change = compare(checkpoint, before, after, tokens.part(HELD_OUT).labels, PLAIN)
        _refuse_worse(change, most)
        if change.shift > _MOST_SHIFT:
            raise VerificationError(
                f"a probability would differ by {change.shift:.2g}, and the graph is to say the same as the model; "
                "nothing was written"
            )
        for name in (MODEL, TOKENIZER):
            (folder / name).write_bytes(checkpoint.sealed.read(name))
        (folder / EXPORT).write_bytes(canonical_json(change.to_json()))
    return verify(target, kind=ONNX), change


def _held_out(checkpoint: Checkpoint, store: Path) -> tuple[HeldOutTexts, TokenStore]:
    """What is asked of both, with arithmetic fixed."""
    portable = is_portable(checkpoint.model)
    if not portable:
        refuse_arithmetic_variables(os.environ)
    tokens = open_store(store, checkpoint)
    fix_arithmetic(checkpoint.threads, portable=portable)
    return HeldOutTexts(tokens, checkpoint.tokenise.max_tokens), tokens


def _refuse_worse(change: Change, most: float) -> None:
    if change.loss_of_accuracy > most:
        raise VerificationError(
            f"accuracy {change.before.accuracy:.4f} would become {change.after.accuracy:.4f}, and may fall by "
            f"{most:g} (--max-accuracy-loss); nothing was written"
        )


def _sealing(
    checkpoint: Checkpoint, store: TokenStore, target: Path, kind: str, most: float
) -> AbstractContextManager[Path]:
    inputs = {KIND: checkpoint.sealed.seal, _STORE: store.sealed.seal}
    return sealing(target, kind=kind, inputs=inputs, config={"most": most})


def _check(checkpoint: Checkpoint, wanted: Wanted) -> None:
    where = shown(checkpoint.sealed.path)
    if checkpoint.precision != "float32" or checkpoint.calibration != PLAIN:
        raise UserError(f"{where}: is an export already; export the checkpoint that was trained")
    if wanted.precision != "float32" and not is_portable(checkpoint.model):
        raise UserError(
            f"{where}: is in native arithmetic, and --precision {wanted.precision} is for portable "
            "(train.arithmetic)"
        )
    if wanted.unknown is not None and UNKNOWN in checkpoint.labels:
        raise UserError(
            f"{where}: has a label of the name {UNKNOWN}, so --unknown could not be told"
        )


def _refuse_trained(target: Path) -> None:
    """
    Raises:
        SealError: there is a checkpoint that was trained, or that cannot be read.
    """
    if (target / MANIFEST).exists() and not any(
        file.path == EXPORT for file in read_manifest(target).files
    ):
        raise SealError(f"{shown(target)}: is sealed and no export; give another --out")


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = Arguments(
        prog="export",
        description="Make a checkpoint to be served of one that was trained, and measure what that costs.",
        allow_abbrev=False,
    )
    parser.add_argument("--checkpoint", required=True, metavar="DIR", help="one that was trained")
    parser.add_argument("--seal", metavar="SEAL", help="the seal that it must have, sha256:…")
    parser.add_argument("--store", metavar="DIR", help="its token store (tokens beside it)")
    parser.add_argument("--out", required=True, metavar="DIR", help="where the export goes")
    parser.add_argument(
        "--precision",
        choices=("float32", "bfloat16", "int8"),
        default="float32",
        help="of the factors of the encoder's products (%(default)s)",
    )
    parser.add_argument(
        "--calibrate", action="store_true", help="fit a temperature to the held-out documents"
    )
    parser.add_argument(
        "--unknown",
        type=_share,
        metavar="SHARE",
        help="answer `unknown` below probabilities that this share of right answers do not reach",
    )
    parser.add_argument(
        "--onnx", action="store_true", help="make an ONNX graph, for servers that are not ours"
    )
    parser.add_argument(
        "--max-accuracy-loss",
        type=_share,
        default=0.01,
        metavar="SHARE",
        help="make no export whose accuracy is lower by more (%(default)s)",
    )
    return parser.parse_args(arguments)


def _share(text: str) -> float:
    share = float(text)
    if not 0 <= share < 1:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to 1")
    return share


if __name__ == "__main__":
    run(main)
