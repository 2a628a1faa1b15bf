"""Unpacks an image's Python so that it runs on the machine that builds; the rule `oci_interpreter` runs this.

The result is `bin/python3.11`, `lib/python3.11/` and, in `lib/`, the loader and the libraries: files alone, no links.
"""

import argparse
import pathlib
import posixpath
from collections.abc import Mapping, Sequence

from tools.oci import errors
from tools.oci.errors import ImageError
from tools.oci.layers.debian_files import unpacked, usr_merged
from tools.oci.layers.layer import Entry

_PROGRAM = "usr/bin/python3.11"
_LIBRARY = "usr/lib/python3.11/"


def _file(entries: Mapping[str, Entry], path: str) -> Entry:
    """The file at the end of the links of a path."""
    entry = entries[path]
    while entry.kind == "symlink":
        target = posixpath.join("/", posixpath.dirname(entry.path), entry.target)
        entry = entries[usr_merged(posixpath.normpath(target).lstrip("/"))]
    return entry


def wanted(entries: Mapping[str, Entry]) -> dict[str, bytes]:
    """Path in the interpreter's directory to content.

    Raises:
        ImageError: the packages hold no Python.
    """
    if _PROGRAM not in entries:
        raise ImageError(f"no package brings /{_PROGRAM}")
    found = {"bin/python3.11": _PROGRAM}
    for path, entry in entries.items():
        name = posixpath.basename(path)
        if path.startswith(_LIBRARY) and entry.kind == "file" and path.endswith(".py"):
            found[f"lib/python3.11/{path.removeprefix(_LIBRARY)}"] = path
        elif ".so" in name and path.startswith("usr/lib") and entry.kind != "directory":
            found.setdefault(f"lib/{name}", path)
    contents = {}
    for target, path in found.items():
        content = _file(entries, path).content
        assert isinstance(content, bytes)  # what was unpacked is in memory
        contents[target] = content
    return contents


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes the interpreter."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--deb", action="append", required=True, type=pathlib.Path)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    options = parser.parse_args(arguments)
    entries = {entry.path: entry for deb in options.deb for entry in unpacked(deb)}
    for target, content in wanted(entries).items():
        path = options.out / target
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(0o555)


if __name__ == "__main__":
    errors.run(main)
