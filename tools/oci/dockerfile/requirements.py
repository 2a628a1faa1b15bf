"""`python3 -m tools.oci.dockerfile.requirements [--check]`: which distributions each image takes from the locks.

Writes `docker/IMAGE_ACCELERATOR.txt` for the Dockerfile: the closure of the image's program in the BUILD files and in
the lock, with the lock's hashes; and `docker/compiler.txt`, which compiles the kernels. Run it in
the root of the checkout.
"""

import argparse
import pathlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from third_party.requirements.pip import read_indexes
from tools.oci import errors
from tools.oci.dockerfile.build_graph import closure
from tools.oci.errors import ImageError

PROGRAMS = {"training": "//python/retort/train:main", "inference": "//python/retort/serve:main"}
"""Image to the program that it starts."""

ACCELERATORS = ("cpu", "cuda")
_COMPILER = "ziglang"
"""The distribution that compiles the kernels."""


@dataclass(frozen=True)
class Pin:
    """An entry of a lock: its own lines, and the distributions that want it, as labels spell them."""

    text: str
    wanted_by: frozenset[str]


def _spelled(name: str) -> str:
    """A distribution as labels spell it."""
    return re.sub(r"[-_.]+", "_", name).lower()


def read_lock(text: str) -> dict[str, Pin]:
    """The entries of a lock by their label's name; comments say which others want each."""
    pins = {}
    for block in re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:]:
        lines = block.splitlines()
        entry = [line for line in lines if not line.lstrip().startswith("#") and line.strip()]
        comments = [line.strip(" #") for line in lines if line.startswith("    #")]
        parents = [comment.removeprefix("via").strip() for comment in comments]
        name = re.split(r"[\[=]", entry[0], maxsplit=1)[0]
        pins[_spelled(name)] = Pin(
            "\n".join(entry) + "\n",
            frozenset(
                _spelled(re.split(r"[\[ ]", parent, maxsplit=1)[0])
                for parent in parents
                if parent and not parent.startswith("-")
            ),
        )
    return pins


def needed(pins: Mapping[str, Pin], wanted: Iterable[str]) -> list[str]:
    """What is wanted and all that it needs, sorted.

    Raises:
        ImageError: the lock lacks one.
    """
    found = set(wanted)
    if missing := found - pins.keys():
        raise ImageError(f"the lock has no {', '.join(sorted(missing))}")
    while grown := {name for name, pin in pins.items() if pin.wanted_by & found} - found:
        found |= grown
    return sorted(found)


def lists(root: pathlib.Path) -> dict[str, str]:
    """The content of every list by its path in the repository.

    Raises:
        ImageError: BUILD files or locks do not say what they must.
    """
    pins = read_lock((root / "third_party/requirements/dev.lock").read_text(encoding="utf-8"))
    head = "# Made by: python3 -m tools.oci.dockerfile.requirements\n# From dev.lock, for //tools/zig:cc\n"
    (compiler,) = needed(pins, [_COMPILER])
    made = {"docker/compiler.txt": head + pins[compiler].text}
    for image, program in PROGRAMS.items():
        named = closure(root, program).distributions
        for accelerator in ACCELERATORS:
            lock = root / f"third_party/requirements/{accelerator}.lock"
            text = lock.read_text(encoding="utf-8")
            pins = read_lock(text)
            names = needed(pins, named)
            indexes = [
                one.to_line() + "\n" for name, one in read_indexes(text).items() if name in names
            ]
            head = (
                "# Made by: python3 -m tools.oci.dockerfile.requirements\n"
                f"# From {accelerator}.lock, for {program}\n"
            )
            made[f"docker/{image}_{accelerator}.txt"] = "".join(
                [head, *indexes, *(pins[name].text for name in names)]
            )
    return made


def stale(root: pathlib.Path) -> list[str]:
    """The lists that are not what locks and BUILD files say, by their paths."""
    return [
        path
        for path, text in lists(root).items()
        if not (root / path).is_file() or (root / path).read_text(encoding="utf-8") != text
    ]


def main() -> None:
    """Writes the lists, or refuses those that are out of date.

    Raises:
        ImageError: with --check, a list is out of date.
    """
    parser = argparse.ArgumentParser(
        prog="python3 -m tools.oci.dockerfile.requirements", description=__doc__
    )
    parser.add_argument("--check", action="store_true", help="write nothing; fail if one is stale")
    options = parser.parse_args()
    root = pathlib.Path.cwd()
    if options.check:
        if found := stale(root):
            raise ImageError(
                f"out of date: {', '.join(found)}: run python3 -m tools.oci.dockerfile.requirements"
            )
        return
    for path, text in lists(root).items():
        (root / path).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    errors.run(main)
