"""Which code and which libraries a process runs.

A store's bytes follow from them, so a machine that would give other bytes is found out before it
gives any.
"""

import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from importlib.resources.abc import Traversable

from retort.core.digest import sha256_bytes

_PACKAGES = ("retort.core", "retort.data")
_LIBRARIES = (
    "datasets",
    "fsspec",
    "gigatoken",
    "numpy",
    "orjson",
    "pyarrow",
    "pydantic",
    "s3fs",
    "tokenizers",
)
_MISSING = "missing"


@dataclass(frozen=True)
class CodeIdentity:
    """What decides the bytes that a process gives.

    Attributes:
        files: name of each source file of ours that reads or tokenises, and its SHA-256.
        versions: of the interpreter and of the libraries that read or tokenise.
    """

    files: Mapping[str, str]
    versions: Mapping[str, str]

    def difference(self, other: "CodeIdentity") -> str | None:
        """In what two machines differ, for a sentence; None if in nothing that matters.

        A program holds the files that it needs; those that only one of the two has do not matter.
        """
        for name in sorted(self.files.keys() & other.files.keys()):
            if self.files[name] != other.files[name]:
                return f"{name} is another"
        for name, here in sorted(self.versions.items()):
            there = other.versions.get(name, _MISSING)
            if there != here:
                return f"{name} is {there} there and {here} here"
        return None


@lru_cache(maxsize=1)
def own_identity() -> CodeIdentity:
    """That of this process."""
    return CodeIdentity(
        files={
            name: sha256_bytes(content)
            for package in _PACKAGES
            for name, content in _sources(files(package), package)
        },
        versions={
            "Python": platform.python_version(),
            **{name: _version(name) for name in _LIBRARIES},
        },
    )


def _sources(directory: Traversable, name: str) -> Iterator[tuple[str, bytes]]:
    """Name and content of each source file in a directory and in those inside it."""
    for entry in directory.iterdir():
        below = f"{name}/{entry.name}"
        if entry.is_dir():
            yield from _sources(entry, below)
        elif entry.name.endswith(".py"):
            yield below, entry.read_bytes()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return _MISSING
