"""Fetches a pinned source archive with pip and takes single files out of it; none of its code runs.

Run by source_archive.bzl with the standard library alone.
"""

import argparse
import io
import json
import os
import pathlib
import sys
import tarfile
import tempfile
from typing import Any

sys.path.append(str(pathlib.Path(__file__).parents[2]))
from third_party.requirements import pip


def _download(pin: dict[str, Any], folder: pathlib.Path) -> pathlib.Path:
    """Returns the archive. Its digest was checked by pip against the pin."""
    line = pip.requirement(pin["distribution"], pin["version"], [f"sha256:{pin['sha256']}"])
    pip.fetch([line], folder / "archives", folder, source=True)
    (archive,) = (folder / "archives").iterdir()
    return archive


def _member(archive: bytes, path: str) -> bytes:
    """The bytes of a member; `a.tar.gz!b` is the member b of the archive that is the member a.

    Raises:
        KeyError: there is no such file.
    """
    outer, _, inner = path.partition("!")
    with tarfile.open(fileobj=io.BytesIO(archive)) as members:
        file = members.extractfile(outer)
        if file is None:
            raise KeyError(f"{outer!r} is not a file")
        content = file.read()
    return _member(content, inner) if inner else content


def unpack(archive: bytes, members: list[str], folder: pathlib.Path) -> None:
    """Writes members of a source archive into a folder, each under its own name.

    Args:
        members: paths below the archive's single top directory.
    Raises:
        KeyError: there is no such file.
    """
    with tarfile.open(fileobj=io.BytesIO(archive)) as entries:
        top = entries.getnames()[0].partition("/")[0]
    folder.mkdir(parents=True, exist_ok=True)
    for path in members:
        (folder / pathlib.PurePosixPath(path).name).write_bytes(_member(archive, f"{top}/{path}"))


def main() -> None:
    """Writes the members that a pin names into `OUT/PACKAGE/`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--pin", required=True, type=pathlib.Path)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    options = parser.parse_args()
    os.umask(0o022)
    pin = json.loads(options.pin.read_text())
    with tempfile.TemporaryDirectory() as temporary:
        try:
            archive = _download(pin, pathlib.Path(temporary))
        except pip.FetchError as error:
            pip.refuse(error)
        try:
            unpack(archive.read_bytes(), pin["members"], options.out / pin["package"])
        except (KeyError, tarfile.TarError) as error:
            pip.refuse(f"{archive.name} is not as {options.pin.name} says: {error.args[0]}")


if __name__ == "__main__":
    main()
