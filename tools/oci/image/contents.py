"""The contents file of an image: which distributions and Debian packages were laid into it.

`NAME.contents.json` is canonical JSON, `{"image": …, "packages": […]}`, its packages sorted by type and name.
"""

import json
import pathlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tools.oci.errors import ImageError

_SHA256 = re.compile(r"[0-9a-f]{64}")
_TYPES = ("deb", "pypi")


@dataclass(frozen=True)
class Package:
    """A distribution (`pypi`) or a Debian package (`deb`).

    Attributes:
        sha256: of the file it came from, hexadecimal; empty for what has no such file.
        licence: as its metadata says, which may be anything.
        requires: names of other distributions of the image.
        architecture, source: of a Debian package alone.
    """

    type: str
    name: str
    version: str
    sha256: str
    licence: str
    requires: tuple[str, ...] = ()
    architecture: str = ""
    source: str = ""


@dataclass(frozen=True)
class Contents:
    """What an image holds."""

    image: str
    packages: tuple[Package, ...]


def parse(content: Mapping[str, Any]) -> Contents:
    """Reads a contents document.

    Raises:
        ImageError: a field is missing or malformed, a package appears twice or out of order, or requires one that
            is not there.
    """
    try:
        image = str(content["image"])
        packages = tuple(_package(entry) for entry in content["packages"])
    except (AttributeError, KeyError, TypeError) as error:
        raise ImageError(f"not the contents of an image: {error!r}") from error
    keys = [(package.type, package.name) for package in packages]
    if keys != sorted(set(keys)):
        raise ImageError(f"the contents of {image} name a package twice, or are not sorted")
    for package in packages:
        for name in package.requires:
            if ("pypi", name) not in keys:
                raise ImageError(f"{package.name} requires {name}, which {image} does not hold")
    return Contents(image, packages)


def document(path: pathlib.Path) -> dict[str, Any]:
    """The content of a contents file, for `parse`.

    Raises:
        ImageError: it cannot be read, or is no JSON object.
    """
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ImageError(f"{path}: {error}") from error
    if not isinstance(content, dict):
        raise ImageError(f"{path} is not the contents of an image: no JSON object")
    return content


def _package(entry: Mapping[str, Any]) -> Package:
    package = Package(
        type=entry["type"],
        name=entry["name"],
        version=entry["version"],
        sha256=entry["sha256"],
        licence=entry["licence"],
        requires=tuple(entry.get("requires", ())),
        architecture=entry.get("architecture", ""),
        source=entry.get("source", ""),
    )
    if package.type not in _TYPES:
        raise ImageError(f"{package.name} is a {package.type!r}, not one of {', '.join(_TYPES)}")
    if not (package.name and package.version):
        raise ImageError(f"a package has no name or no version: {dict(entry)!r}")
    if package.sha256 and not _SHA256.fullmatch(package.sha256):
        raise ImageError(f"{package.name}: {package.sha256!r} is no SHA-256")
    return package
