"""Publishes the seals of runs in portable arithmetic, or holds a machine to them: `//train:golden [-- --check]`.

A seal of native arithmetic is that of a kind of processor. These are everybody's: whatever machine this runs on, of
whatever maker, they must come out. A change of what is computed asks for new ones; CHANGELOG then names the recipes.
"""

import argparse
import json
import pathlib
import re
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from tools.ci.reproducibility import CHECKOUT, built, sealed

README = CHECKOUT / "README.md"
_SEAL_LINE = re.compile(r"^(seal )sha256:[0-9a-f]{64}", re.MULTILINE)
SEALS = CHECKOUT / "tests" / "golden" / "seals.json"
RUNS: Mapping[str, tuple[str, ...]] = {
    "smoke": (),
    "bbc_llama": (
        *("train.steps=20", "train.batch=8", "data.held_out=0.02"),
        *("model.language_model.dropout=0.1", "checkpoints.every=1000"),
        *("evaluate.every=null", "evaluate.max_loss=null"),
    ),
}
"""Name of a recipe, and what is changed in it so that it takes a minute. The first is as `//train:smoke` trains it."""


def seals(program: pathlib.Path, folder: pathlib.Path) -> dict[str, str]:
    """The seal of each run, by its recipe."""

    def trained(recipe: str) -> str:
        settings = (*RUNS[recipe], "train.arithmetic=portable")
        words = [word for one in settings for word in ("--set", one)]
        command = [str(program), "--config", recipe, *words, "--out", str(folder / recipe)]
        return sealed(command, recipe, CUDA_VISIBLE_DEVICES="")

    with ThreadPoolExecutor(2) as two_at_a_time:
        return dict(zip(RUNS, two_at_a_time.map(trained, RUNS), strict=True))


def differing(found: Mapping[str, str], published: Mapping[str, str]) -> list[str]:
    """One line for each run whose seal is not the published one."""
    return [
        f"{recipe}: {seal} is not the published {published.get(recipe, 'seal: there is none')}"
        for recipe, seal in found.items()
        if seal != published.get(recipe)
    ]


def publish(found: Mapping[str, str]) -> None:
    """Write seals where strangers look for them."""
    SEALS.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    text = README.read_text(encoding="utf-8")
    README.write_text(_SEAL_LINE.sub(rf"\g<1>{found['smoke']}", text), encoding="utf-8")
    for file in (SEALS, README):
        print(f"published in {file.relative_to(CHECKOUT)}", file=sys.stderr)


def main() -> int:
    """Prints the seals; with --check 1 if one is not as published."""
    parser = argparse.ArgumentParser(prog="golden", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--check", action="store_true", help="compare with them, and change nothing"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="retort-golden-") as name:
        folder = pathlib.Path(name)
        found = seals(built(folder / "train"), folder)
    for recipe, seal in found.items():
        print(f"{recipe:20} {seal}")
    if not options.check:
        publish(found)
        return 0
    if wrong := differing(found, json.loads(SEALS.read_text(encoding="utf-8"))):
        print("\n".join(wrong), file=sys.stderr)
        print(
            "if what is computed was meant to change: ./tools/bazel run //train:golden, and name the recipes in "
            "CHANGELOG.md",
            file=sys.stderr,
        )
        return 1
    print("all seals are as published", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
