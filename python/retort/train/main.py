"""Train a classifier by a recipe.

python -m retort.train.main --config FILE_OR_NAME --set key=value --out DIR
"""

import argparse
import json
import os
import shlex
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

from retort.core.cli import Invocation, run, seal_line
from retort.core.config import Recipe, find_recipe, load_recipe, recipe_names, to_yaml
from retort.core.errors import UserError, VerificationError
from retort.models.determinism import refuse_arithmetic_variables
from retort.train.recipe import TrainingRecipe, recipes
from retort.train.run import CHECKPOINT, REPORT, RunResult, run_recipe


def main(arguments: Sequence[str]) -> int:
    """Run one recipe, or list those that have names."""
    options = _parser().parse_args(arguments)
    if options.list:
        print("\n".join(recipe_names(recipes())))
        return 0
    if options.config is None or options.out is None:
        raise UserError("give --config FILE_OR_NAME and --out DIR, or --list to see the recipes")
    invocation = Invocation.from_environment()
    out = invocation.resolve(options.out)
    checkpoint = shlex.quote(typed(out / CHECKPOINT, invocation))
    next_commands = f"./tools/bazel run //serve -- --checkpoint {checkpoint}"
    return train_and_report(
        options.config,
        options.set,
        out,
        invocation,
        next_commands=next_commands,
        overwrite=options.overwrite,
        as_json=options.json,
    )


def train_and_report(
    config: str,
    overrides: Sequence[str],
    out: Path,
    invocation: Invocation,
    *,
    next_commands: str,
    overwrite: bool,
    as_json: bool,
) -> int:
    """Run a recipe and say how it went: figures on standard error, the seal on standard output.

    Raises:
        VerificationError: the run finished, and its checkpoint is not what was promised.
    """
    refuse_arithmetic_variables(os.environ)
    here = invocation.working_directory
    source = find_recipe(recipes(), config, here)
    recipe: Recipe[TrainingRecipe] = load_recipe(TrainingRecipe, source, overrides, here)
    print(f"# recipe {recipe.name}, resolved\n{to_yaml(recipe.config)}", file=sys.stderr)
    result = run_recipe(recipe, out, overwrite=overwrite)
    print(_summary(result, out, invocation), file=sys.stderr)
    if as_json:
        print(json.dumps(_as_json(result, out)))
    if result.failure is not None:
        raise VerificationError(f"{out}: {result.failure}")
    print(f"next:\n{textwrap.indent(next_commands, '  ')}", file=sys.stderr)
    if not as_json:
        print(seal_line(result.checkpoint))
    return 0


def _summary(result: RunResult, out: Path, invocation: Invocation) -> str:
    metrics = result.metrics
    low, high = metrics.interval
    return (
        f"\naccuracy {metrics.accuracy:.4f} on {metrics.documents} held-out documents "
        f"(95 % interval {low:.3f} to {high:.3f}), macro-F1 {metrics.macro_f1:.4f}, "
        f"{result.seconds:.0f} s\n"
        f"report: {typed(out / REPORT, invocation)}"
    )


def typed(path: Path, invocation: Invocation) -> str:
    """A path as one would type it where the user is."""
    here = invocation.working_directory
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def _as_json(result: RunResult, out: Path) -> dict[str, object]:
    return {
        "seal": result.checkpoint.seal,
        "path": str(result.checkpoint.path),
        "report": str(out / REPORT),
        "failure": result.failure,
        "metrics": result.metrics.to_json(),
        "seconds": result.seconds,
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="train", description="Train a classifier by a recipe.")
    parser.add_argument("--config", metavar="FILE_OR_NAME", help="a recipe's file, or its name")
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="override one key of the recipe, such as optimizer.lr=3e-5; may be repeated",
    )
    parser.add_argument("--out", metavar="DIR", help="directory of the run, made by this command")
    parser.add_argument("--overwrite", action="store_true", help="replace a run that DIR holds")
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end")
    parser.add_argument("--list", action="store_true", help="print the names of the recipes")
    return parser


if __name__ == "__main__":
    run(main)
