"""Images by the rules beside images by buildah.

    ./tools/bazel run //benchmarks/images
    ./tools/bazel run //benchmarks/images -- --image inference --rounds 3 --parts change push
    ./tools/bazel run //benchmarks/images -- --builder-rootfs /var/lib/debian

Builds the same image by both, in turns, from a copy of the checkout, and writes `images-DATE.md` with its picture.
Wants root, buildah, debootstrap (or a Debian 12 with Python 3.11 and pip in a folder), 30 GB of disk and a machine with
nothing else to do.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks.images import pictures as images_pictures
from benchmarks.images import result as images_result
from benchmarks.images.result import OURS, THEIRS
from benchmarks.images.sides import (
    Dockerfile,
    Rules,
    change_code,
    copy_checkout,
    seconds,
)
from benchmarks.markdown import Section
from benchmarks.page import Page
from benchmarks.page import arguments as page_arguments
from retort.core.cli import Invocation, positive, run
from tests.oci.dockerfile.buildah import Buildah, PipAccess, bootstrap

_PARTS = ("change", "cold", "layers", "push")
Side = Rules | Dockerfile


def main(arguments: Sequence[str]) -> int:
    """Measure, and write the result; 1 if a target was missed."""
    options = _parser().parse_args(arguments)
    page = Page("images", options.out)
    with tempfile.TemporaryDirectory(prefix="retort-benchmark-") as name:
        scratch = Path(name)
        sides = _sides(Invocation.from_environment().workspace, scratch, options)
        try:
            sections = _measure(sides, options, page.picture("images"))
        finally:
            for side in sides.values():
                side.stop()
    missed = page.write("Images by the rules and by buildah", sections, [], arguments)
    return int(bool(missed))


def _sides(workspace: Path, scratch: Path, options: argparse.Namespace) -> dict[str, Side]:
    """Both sides, with all that they build on at hand: wheels, pip's cache, the builder's image."""
    checkout = scratch / "checkout"
    copy_checkout(workspace, checkout)
    rootfs = Path(options.builder_rootfs) if options.builder_rootfs else scratch / "debian"
    if not rootfs.is_dir():
        bootstrap(rootfs)
    buildah = Buildah(scratch / "storage", PipAccess.of_this_machine())
    buildah.import_rootfs(rootfs, "builder")
    return {
        OURS: Rules(checkout, scratch / "output", options.image),
        THEIRS: Dockerfile(checkout, buildah, options.image, scratch),
    }


def _measure(sides: dict[str, Side], options: argparse.Namespace, picture: Path) -> list[Section]:
    """Each part that is asked for; the picture is written at the end."""
    for side in sides.values():
        side.build()
    times: dict[str, images_result.Times] = {}
    sections = []
    if "cold" in options.parts:
        times["No layer is built"] = take_turns(
            sides, options.cold_rounds, lambda side, _: side.forget_layers()
        )
        sections.append(images_result.cold(times["No layer is built"]))
    # With `cold`, the last profile is of a build of every layer, and has the time of each.
    before = {name: side.built() for name, side in sides.items()}
    if "layers" in options.parts:
        sections.append(images_result.layers(before))
    if "change" in options.parts:
        times["A line of our code changes"] = take_turns(
            sides, options.rounds, lambda side, turn: change_code(side.checkout, turn)
        )
        sections.append(images_result.change(times["A line of our code changes"]))
    if "push" in options.parts:
        for name, side in sides.items():
            change_code(side.checkout, f"push {name}")
            side.build()
        pairs = {name: (before[name], side.built()) for name, side in sides.items()}
        sections.append(images_result.push(pairs))
    layers = before[images_result.OURS].layers if "layers" in options.parts else ()
    if times or layers:
        images_pictures.write_picture(times, layers, picture)
        sections.append(Section((), f"![Times and layers]({picture.name})"))
    return sections


def take_turns(
    sides: Mapping[str, Side], rounds: int, prepare: Callable[[Side, str], None]
) -> dict[str, list[float]]:
    """Seconds of builds by side; who begins changes with every round.

    Args:
        prepare: what goes before each build and does not count; gets the side and a name of the turn.
    """
    times: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds):
        for name in list(sides)[:: 1 if number % 2 == 0 else -1]:
            prepare(sides[name], f"round {number}, {name}")
            times[name].append(seconds(sides[name].build))
            print(f"{name}: {times[name][-1]:.2f} s", file=sys.stderr, flush=True)
    return times


def _parser() -> argparse.ArgumentParser:
    parser = page_arguments("images", __doc__, _PARTS)
    parser.add_argument("--image", choices=("training", "inference"), default="training")
    parser.add_argument("--rounds", type=positive, default=7, help="of a line that changes")
    parser.add_argument("--cold-rounds", type=positive, default=3, help="of builds of all layers")
    parser.add_argument("--builder-rootfs", metavar="DIR", help="instead of a new Debian")
    return parser


if __name__ == "__main__":
    run(main)
