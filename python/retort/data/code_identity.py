"""Which code and which libraries a process runs.

A store's bytes follow from them, so a machine that would give other bytes is found out before it
gives any.
"""

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files

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
            f"{package}/{file.name}": sha256_bytes(file.read_bytes())
            for package in _PACKAGES
            for file in files(package).iterdir()
            if file.name.endswith(".py")
        },
        versions={
            "Python": platform.python_version(),
            **{name: _version(name) for name in _LIBRARIES},
        },
    )


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return _MISSING
