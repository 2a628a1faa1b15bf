"""Python packages of a build as files of one site-packages.

A build names its files by runfiles path, and says which directories Python imports from. A file goes where its path
below its import root says. What lies beside an import root is for the build and stays there.
"""

import email.parser
import json
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tools.oci.errors import ImageError
from tools.oci.layers import left_out
from tools.oci.layers.layer import Entry, Package, Tree, copied


@dataclass
class Root:
    """An import root: the files below it by their paths there, and what pinned the wheel it is."""

    files: dict[str, pathlib.Path] = field(default_factory=dict)
    pin: Mapping[str, str] = field(default_factory=dict)


def normalised(name: str) -> str:
    """A distribution's name as the simple repository API compares it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _walk(path: pathlib.Path) -> Iterator[tuple[str, pathlib.Path]]:
    """(path below, file) of a file or of every file of a directory."""
    if not path.is_dir():
        yield "", path
        return
    for found in path.rglob("*"):
        if found.is_file():
            yield f"/{found.relative_to(path).as_posix()}", found


def import_roots(files: Mapping[str, pathlib.Path], imports: Sequence[str]) -> dict[str, Root]:
    """Sorts files by the import root they lie in.

    Args:
        files: runfiles path to file or directory.
        imports: runfiles paths of the import roots; a file belongs to the longest that holds it.
    """
    roots = {name: Root() for name in imports}
    for runfile, path in files.items():
        for below, found in _walk(path):
            whole = runfile + below
            parents = [str(parent) for parent in pathlib.PurePosixPath(whole).parents]
            name = next((parent for parent in parents if parent in roots), None)
            if name is not None:
                roots[name].files[whole[len(name) + 1 :]] = found
            elif whole.endswith("/wheel.json"):
                beside = whole.removesuffix("wheel.json") + "site-packages"
                roots.setdefault(beside, Root()).pin = json.loads(found.read_bytes())
    return roots


def distribution(root: Root) -> Package | None:
    """The distribution that an import root is, or None where it is sources alone."""
    for path, metadata in root.files.items():
        folder, _, name = path.rpartition("/")
        if name != "METADATA" or not folder.endswith(".dist-info") or "/" in folder:
            continue
        stated = email.parser.BytesParser().parsebytes(metadata.read_bytes())
        # `name[extra] (>=1); marker`: what only an extra asks for is there for another reason, if it is there.
        required = {
            normalised(re.split(r"[^\w.-]", wanted.strip(), maxsplit=1)[0])
            for wanted in stated.get_all("Requires-Dist", [])
            if "extra ==" not in wanted
        }
        licence = str(stated["License-Expression"] or stated["License"] or "")
        return Package(
            type="pypi",
            name=normalised(stated["Name"]),
            version=str(stated["Version"]),
            sha256=root.pin.get("sha256", ""),
            licence=licence if "\n" not in licence and len(licence) < 100 else "",
            requires=tuple(sorted(required)),
        )
    return None


def site_packages(
    roots: Mapping[str, Root],
    folder: str,
    only: frozenset[str] = frozenset(),
    without: frozenset[str] = frozenset(),
    listed: str = "",
) -> Tree:
    """The distributions of a tier, below one directory.

    Args:
        folder: site-packages inside the image.
        only: normalised names of the distributions wanted; none for all.
        without: normalised names of those that other tiers hold.
        listed: what is left out of each; see `tools.oci.layers.left_out`.
    Raises:
        ImageError: a wanted distribution is not there, or the list is malformed.
    """
    tree = Tree()
    unwanted = left_out.pattern(listed)
    for root in roots.values():
        package = distribution(root)
        if package and package.name not in without and (not only or package.name in only):
            tree.entries.extend(_entries(root, folder, unwanted))
            tree.packages.append(package)
    if missing := only - {package.name for package in tree.packages}:
        names = ", ".join(sorted(missing))
        raise ImageError(f"no such distribution among the dependencies: {names}")
    return tree


def sources(roots: Mapping[str, Root], folder: str) -> Iterator[Entry]:
    """What is no distribution: our own code, and data that a build made importable."""
    for root in roots.values():
        if distribution(root) is None:
            yield from _entries(root, folder, left_out.pattern())


def _entries(root: Root, folder: str, unwanted: re.Pattern[str]) -> Iterator[Entry]:
    for path, found in root.files.items():
        if not unwanted.search(path):
            yield copied(f"{folder}/{path}", found)
