"""Cross-validation: one run of a recipe for each fold, and what they say together.

    python -m retort.train.folds --config FILE_OR_NAME --folds 5 --out DIR

DIR holds `fold-0`, `fold-1` ..., each a whole run, and `folds.json` and `folds.html` when all of
them are there. Runs that are finished are not run again, so that the same command goes on where it
was stopped.
"""

from retort.core.signals import starting

if __name__ == "__main__":
    starting()

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import get_args

from retort.core.atomic import storage_errors
from retort.core.cli import Arguments, Invocation, exit_code, positive, run
from retort.core.config import Recipe, find_recipe, load_recipe, to_yaml
from retort.core.errors import DataError, RetortError, UserError, VerificationError
from retort.core.forks.client import start
from retort.core.paths import check_place
from retort.core.seal import verify
from retort.core.signals import Terminated
from retort.evaluate.cross_validation import CrossValidation, Fold, render_folds
from retort.evaluate.metrics import Metrics
from retort.models.config import ArithmeticName
from retort.models.description import KIND
from retort.train.main import WORKER
from retort.train.processes.launch import ELASTIC, fork_workers
from retort.train.recipe import TrainingRecipe, recipes, with_arithmetic

_MOST = 100
_FINISHED = "run.json"
_OURS = ("data.held_out", "data.fold")


def main(arguments: Sequence[str]) -> int:
    """Train what is not there yet, then say what the folds say."""
    options = _parser().parse_args(arguments)
    invocation = Invocation.from_environment()
    out = invocation.resolve(options.out)
    check_place(out / "fold-0")
    folds = _recipes(options.config, options.set, options.folds, invocation.working_directory)
    _train_missing(options, folds, out)
    found = CrossValidation(
        folds[0].name,
        tuple(read_fold(out / f"fold-{number}", number) for number in range(options.folds)),
    )
    with storage_errors(out):
        content = json.dumps(found.to_json(), indent=2) + "\n"
        (out / "folds.json").write_text(content, encoding="utf-8")
        (out / "folds.html").write_text(render_folds(found), encoding="utf-8")
    if options.json:
        print(json.dumps(found.to_json()))
    failed = [fold for fold in found.folds if fold.failure is not None]
    if failed:
        raise VerificationError(f"{out}/fold-{failed[0].number}: {failed[0].failure}")
    print(f"report: {out / 'folds.html'}", file=sys.stderr)
    if not options.json:
        print(found.line())
    return 0


def _train_missing(
    options: argparse.Namespace, folds: Sequence[Recipe[TrainingRecipe]], out: Path
) -> None:
    with ExitStack() as stack:
        for number, recipe in enumerate(folds):
            directory = out / f"fold-{number}"
            if (directory / _FINISHED).is_file():
                _check_same(directory, recipe)
                print(f"# fold {number} is finished: {directory}", file=sys.stderr)
                continue
            print(f"# fold {number} of {options.folds}: {directory}", file=sys.stderr, flush=True)
            settings = [*options.set, *_settings(number, options.folds)]
            command = _command(options.config, settings, directory, options.nproc)
            agent = [ELASTIC] if (options.nproc or 1) > 1 else []
            # The first starts a server, which is there for all.
            stack.enter_context(fork_workers(WORKER, *agent))
            _train(command, directory)


def read_fold(directory: Path, number: int) -> Fold:
    """A finished fold.

    Raises:
        DataError: its evaluation cannot be read.
        SealError: its checkpoint is altered or missing.
    """
    file = directory / "evaluation.json"
    try:
        evaluation = json.loads(file.read_bytes())
        metrics, failure = Metrics.from_json(evaluation), evaluation["failure"]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{file}: is not the evaluation of a classifier: {error!r}") from error
    return Fold(number, verify(directory / "checkpoint", kind=KIND).seal, metrics, failure)


def _recipes(
    config: str, overrides: Sequence[str], folds: int, here: Path
) -> list[Recipe[TrainingRecipe]]:
    """The recipe of each fold: all of them are right before the first one is trained."""
    if not 2 <= folds <= _MOST:
        raise UserError(f"--folds {folds}: give 2 or more, up to {_MOST}")
    for override in overrides:
        key = override.partition("=")[0].strip()
        if key in _OURS:
            raise UserError(f"--set {override}: {key} follows from --folds; leave it out")
    source = find_recipe(recipes(), config, here)
    found = [
        load_recipe(TrainingRecipe, source, [*overrides, *_settings(number, folds)], here)
        for number in range(folds)
    ]
    model = found[0].config.model
    if model.task != "classifier":
        raise UserError(f"{config}: folds compare classifiers, and this trains {model.rules.model}")
    return found


def _settings(fold: int, folds: int) -> tuple[str, ...]:
    return (f"data.held_out={1 / folds}", f"data.fold={fold}")


def _check_same(directory: Path, recipe: Recipe[TrainingRecipe]) -> None:
    """Refuse to count a run of another recipe."""
    file = directory / "recipe.yaml"
    try:
        content = file.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror}") from error
    config = recipe.config
    possible = [config]
    if config.train.arithmetic is None:
        possible = [with_arithmetic(config, name) for name in get_args(ArithmeticName)]
    if content not in map(to_yaml, possible):
        raise UserError(
            f"{file}: is another recipe than the one of this command; choose another --out"
        )


def _command(config: str, settings: Sequence[str], directory: Path, nproc: int | None) -> list[str]:
    command = ["retort.train.main", "--config", config]
    for setting in settings:
        command += ["--set", setting]
    if nproc is not None:
        command += ["--nproc", str(nproc)]
    return [*command, "--out", str(directory)]


def _train(command: Sequence[str], directory: Path) -> None:
    """Run one fold to its end; a run that is finished and not good enough is counted too.

    Raises:
        UserError: it was the user's mistake; RetortError: it was not.
    """
    # Its last line, the seal, is not ours: standard output is for the result of all folds. Its own
    # session: Ctrl-C reaches this process alone, which then asks the other to save and leave.
    with start(command, stdout=sys.stderr) as training:
        try:
            code = training.wait()
        except (KeyboardInterrupt, Terminated) as asked:
            training.terminate()
            training.wait()
            raise SystemExit(exit_code(asked)) from None  # the run has said so
    if code == 0 or (code == VerificationError.exit_code and (directory / _FINISHED).is_file()):
        return
    message = f"{directory}: training ended with exit code {code}; what it said is above"
    raise UserError(message) if code == UserError.exit_code else RetortError(message)


def _parser() -> argparse.ArgumentParser:
    parser = Arguments(prog="folds", description="Train one classifier for each fold, and average.")
    parser.add_argument(
        "--config", required=True, metavar="FILE_OR_NAME", help="a recipe's file, or its name"
    )
    parser.add_argument("--folds", type=positive, default=5, metavar="N", help="5 by default")
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="override one key of the recipe, such as optimizer.lr=3e-5; may be repeated",
    )
    parser.add_argument(
        "--nproc", type=positive, metavar="N", help="processes of each run, one run at a time"
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="directory of all runs")
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end")
    return parser


if __name__ == "__main__":
    run(main)
