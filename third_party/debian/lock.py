"""What a lock of Debian packages says, and what must hold for it.

Only the standard library of Python 3.11 is used here, as a repository rule runs this before anything was built.
"""

import json
import pathlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Deb:
    """One pinned package.

    Attributes:
        archive: the directory of a mirror that holds it: `debian` or `debian-security`.
        path: of the file below the archive.
        size: of the file, in bytes.
    """

    name: str
    version: str
    architecture: str
    archive: str
    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Lock:
    """Packages of one release and architecture, and when they were chosen (`YYYYMMDDTHHMMSSZ`, UTC)."""

    release: str
    architecture: str
    date: str
    debs: tuple[Deb, ...]

    def to_text(self) -> str:
        """The lock file's content."""
        content = asdict(self) | {"debs": [asdict(deb) for deb in self.debs]}
        return json.dumps(content, indent=2) + "\n"


def read(path: pathlib.Path) -> Lock:
    """Reads a lock file.

    Raises:
        ValueError: it is not one.
    """
    content = json.loads(path.read_text())
    try:
        return Lock(
            release=content["release"],
            architecture=content["architecture"],
            date=content["date"],
            debs=tuple(Deb(**deb) for deb in content["debs"]),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a lock of Debian packages: {error}") from error


@dataclass(frozen=True)
class Wanted:
    """`NAME.in`: the packages to take, and those left out with the reason."""

    names: tuple[str, ...]
    left_out: Mapping[str, str]


def read_wanted(path: pathlib.Path) -> Wanted:
    """Reads an input file.

    Raises:
        ValueError: a line is neither a package, nor `- PACKAGE: REASON`, nor a comment.
    """
    names, left_out = [], {}
    for line in path.read_text().splitlines():
        text = line.partition("#")[0].strip()
        if match := re.fullmatch(r"- (\S+): (.+)", text):
            left_out[match[1]] = match[2]
        elif re.fullmatch(r"[a-z0-9][a-z0-9+.-]+", text):
            names.append(text)
        elif text:
            raise ValueError(f"{path.name}: not a package: {line!r}")
    return Wanted(tuple(names), left_out)


def unmet(wanted: Wanted, depends: Mapping[str, Iterable[str]]) -> list[str]:
    """Dependencies that are neither taken nor left out, a line each.

    Args:
        depends: package to the fields `Depends` and `Pre-Depends` as Debian writes them.
    """
    known = {*wanted.names, *wanted.left_out}
    found = []
    for name, fields in sorted(depends.items()):
        for group in ",".join(fields).split(","):
            choices = [re.split(r"[ :(]", choice.strip())[0] for choice in group.split("|")]
            if any(choices) and not known.intersection(choices):
                found.append(f"{name} depends on {' or '.join(choices)}")
    return found
