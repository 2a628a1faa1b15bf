"""The files of a wheel, and where they go below site-packages (PEP 427)."""

import pathlib
import stat
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass

# A file of one of these names inside a wheel would end the directory's Bazel package.
_BAZEL_FILES = frozenset(
    {"BUILD", "BUILD.bazel", "MODULE.bazel", "REPO.bazel", "WORKSPACE", "WORKSPACE.bazel"}
)
_SCHEMES = {"purelib": "", "platlib": "", "scripts": "bin/"}


class WheelError(Exception):
    """What is wrong with a wheel, in one line."""


@dataclass(frozen=True)
class WheelFile:
    """One file; `path` is below site-packages, and of a program begins with `bin/`."""

    path: str
    content: bytes
    executable: bool


def wheel_files(wheel: pathlib.Path) -> Iterator[WheelFile]:
    """What is to be imported or started, as the wheel has it.

    Raises:
        WheelError: a file would go elsewhere.
    """
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            path = None if member.is_dir() else _destination(member.filename)
            if path is None:
                continue
            parts = pathlib.PurePosixPath(path).parts
            if path.startswith("/") or ".." in parts:
                name = member.filename
                raise WheelError(f"{wheel.name}: the member {name!r} would be written outside")
            if parts[-1] not in _BAZEL_FILES:
                executable = bool(member.external_attr >> 16 & stat.S_IXUSR)
                yield WheelFile(path, archive.read(member), executable)


def _destination(member: str) -> str | None:
    """Where a member goes: `NAME.data/SCHEME/…` is spread; what is not for import is dropped."""
    head, _, rest = member.partition("/")
    if not head.endswith(".data"):
        return member
    scheme, _, path = rest.partition("/")
    return f"{_SCHEMES[scheme]}{path}" if scheme in _SCHEMES else None
