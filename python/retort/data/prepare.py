"""Turn raw text into a sealed token store.

python -m retort.data.prepare --config FILE_OR_NAME --set key=value --out DIR
"""

from retort.core.signals import starting

if __name__ == "__main__":
    starting()

import argparse
import json
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from retort.core.cli import Arguments, Invocation, positive, run, seal_line
from retort.core.config import Recipe, find_recipe, load_recipe, recipe_names, to_yaml
from retort.core.errors import UserError, shown
from retort.core.paths import check_place
from retort.data.files.decoding import printable
from retort.data.preparation.recipe import PreparationRecipe, read_tokenizer, recipes
from retort.data.preparation.run import prepare_store
from retort.data.preparation.writer import Written
from retort.data.reading.workers import LocalWorkers, Workers
from retort.data.store.store import REPORT


def main(arguments: Sequence[str]) -> int:
    """Prepare one recipe's documents, or list the recipes that have names."""
    options = _parser().parse_args(arguments)
    if options.list:
        print("\n".join(recipe_names(recipes())))
        return 0
    if options.config is None or options.out is None:
        raise UserError("give --config FILE_OR_NAME and --out DIR, or --list to see the recipes")
    invocation = Invocation.from_environment()
    here = invocation.working_directory
    out = invocation.resolve(options.out)
    check_place(out)
    source = find_recipe(recipes(), options.config, here)
    recipe: Recipe[PreparationRecipe] = load_recipe(PreparationRecipe, source, options.set, here)
    print(f"# recipe {shown(recipe.name)}, resolved\n{to_yaml(recipe.config)}", file=sys.stderr)
    start = time.monotonic()
    written = prepare_store(
        out,
        recipe.config.data,
        recipe.config.tokenizer.train or read_tokenizer(recipe.config.tokenizer),
        special_in_text=recipe.config.tokenizer.special_in_text,
        workers=_workers(options),
    )
    _say(written, time.monotonic() - start, out)
    if options.json:
        print(json.dumps(_as_json(written, out)))
    else:
        print(seal_line(written.sealed))
    return 0


def _workers(options: argparse.Namespace) -> Workers:
    if options.engine == "ray":
        from retort.data.reading.ray_workers import RayWorkers  # takes a second to import

        return RayWorkers(options.address or "auto", options.workers)
    if options.address is not None:
        raise UserError("--address is that of a Ray cluster; give --engine ray with it")
    return LocalWorkers(options.workers)


def _say(written: Written, seconds: float, out: Path) -> None:
    found = written.corpus.validation
    removed = sum(found.removed.values())
    print(
        f"\n{found.documents:,} documents read, {removed:,} removed, {found.train:,} to learn from, "
        f"{found.held_out:,} held out\n"
        f"{written.tokens:,} tokens; {written.tokenised:,} documents tokenised, "
        f"{written.reused:,} reused; {seconds:.1f} s",
        file=sys.stderr,
    )
    for warning in found.warnings:
        print(f"look at this: {printable(warning)}", file=sys.stderr)
    shown = shlex.quote(str(out))
    print(
        f"report: {out / REPORT}\nnext:\n  ./tools/bazel run //data:inspect -- {shown}",
        file=sys.stderr,
    )


def _as_json(written: Written, out: Path) -> dict[str, object]:
    found = written.corpus.validation
    return {
        "seal": written.sealed.seal,
        "path": str(written.sealed.path),
        "report": str(out / REPORT),
        "read": found.documents,
        "removed": found.removed,
        "not_utf8": found.encodings.not_utf8,
        "not_utf8_dropped": found.encodings.dropped,
        "blank_lines": found.rows.blank,
        "bad_rows_dropped": found.rows.dropped,
        "files_left_out": found.rows.files_left_out,
        "special_tokens_in_texts": found.special.tokens if found.special else {},
        "documents": written.documents,
        "train": found.train,
        "held_out": found.held_out,
        "labels": {one.label: one.train + one.held_out for one in found.labels},
        "warnings": found.warnings,
        "tokens": written.tokens,
        "tokenised": written.tokenised,
        "reused": written.reused,
    }


def _parser() -> argparse.ArgumentParser:
    parser = Arguments(prog="prepare", description="Turn raw text into a sealed token store.")
    parser.add_argument(
        "--config", metavar="FILE_OR_NAME", help="a data recipe's file, or its name"
    )
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="override one key of the recipe, such as data.held_out=0.1; may be repeated",
    )
    parser.add_argument("--out", metavar="DIR", help="the token store, made or brought up to date")
    parser.add_argument(
        "--workers",
        type=positive,
        metavar="N",
        help="processes that read (one a core for a large corpus, else one); the seal is the same",
    )
    parser.add_argument(
        "--engine",
        choices=["local", "ray"],
        default="local",
        help="who reads: processes of this machine, or a Ray cluster; the seal is the same",
    )
    parser.add_argument(
        "--address",
        metavar="HOST:PORT",
        help="of the Ray cluster's head, from a machine that is a node of it; auto (as without): "
        "the cluster that runs here; local: one that is started for this command",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end")
    parser.add_argument("--list", action="store_true", help="print the names of the recipes")
    return parser


if __name__ == "__main__":
    run(main)
