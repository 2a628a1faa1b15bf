"""What the lock files are, and what must hold for each."""

import hashlib
import pathlib
import re
from dataclasses import dataclass, field

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from third_party.requirements.pip import Index


@dataclass(frozen=True)
class Lock:
    """`NAME.in` and `NAME.lock`.

    Attributes:
        inputs: every file that the resolution depends on.
        wheelhouse: whether pip's find-links folders are searched.
        barred: patterns of distributions that must not be in it.
        indexes: where distributions are that the common index lacks; asked after pip's own settings.
    """

    name: str
    inputs: tuple[str, ...]
    wheelhouse: bool = False
    barred: tuple[str, ...] = field(default=())
    indexes: tuple[Index, ...] = field(default=())


LOCKS = (
    Lock(
        "cpu",
        ("cpu.in", "runtime.in", "uv.toml"),
        wheelhouse=True,
        barred=(r"nvidia-.*", "triton", "cuda-.*"),
        indexes=(Index("torch", "https://download.pytorch.org/whl/cpu"),),
    ),
    Lock("cuda", ("cuda.in", "runtime.in", "uv.toml")),
    Lock("dev", ("dev.in", "cpu.lock", "uv.toml")),
)


@dataclass(frozen=True)
class Pin:
    """One distribution of a lock."""

    version: Version
    hashes: tuple[str, ...]


def _digest(lock: Lock, folder: pathlib.Path) -> str:
    digest = hashlib.sha256()
    for name in lock.inputs:
        digest.update((folder / name).read_bytes() + b"\0")
    return digest.hexdigest()


def header(lock: Lock, folder: pathlib.Path) -> str:
    """The comment that ties a lock to its inputs and says where its distributions are."""
    return (
        f"# Made by: bazel run //third_party/requirements:update\n"
        f"# From {', '.join(lock.inputs)}: sha256:{_digest(lock, folder)}\n"
        + "".join(f"{index.to_line()}\n" for index in lock.indexes)
    )


def read_pins(text: str) -> dict[str, Pin]:
    """Reads the `name==version --hash=…` entries of a lock.

    Raises:
        ValueError: a line is none of entry, hash, comment or blank.
    """
    pins: dict[str, Pin] = {}
    name = ""
    for line in text.splitlines():
        entry = line.rstrip("\\ ").strip()
        if not entry or entry.startswith("#"):
            continue
        if match := re.fullmatch(r"([A-Za-z0-9._-]+)(\[[^]]*\])?==(\S+)", entry):
            name = canonicalize_name(match[1])
            pins[name] = Pin(Version(match[3]), ())
        elif name and (match := re.fullmatch(r"--hash=(sha256:[0-9a-f]{64})", entry)):
            pins[name] = Pin(pins[name].version, (*pins[name].hashes, match[1]))
        else:
            raise ValueError(f"not a line of a lock: {line!r}")
    return pins


def _requirements(path: pathlib.Path) -> list[Requirement]:
    found: list[Requirement] = []
    for line in path.read_text().splitlines():
        text = line.partition("#")[0].strip()
        if text.startswith("-r "):
            found += _requirements(path.parent / text[3:])
        elif text and not text.startswith("-"):
            found.append(Requirement(text))
    return found


def problems(lock: Lock, folder: pathlib.Path) -> list[str]:
    """Everything wrong with a lock, one line each; empty if it may be used."""
    text = (folder / f"{lock.name}.lock").read_text()
    pins = read_pins(text)
    found = []
    if not text.startswith(header(lock, folder)):
        found.append(
            f"{lock.name}.lock is out of date with {', '.join(lock.inputs)}: "
            f"run bazel run //third_party/requirements:update"
        )
    for name, pin in pins.items():
        if not pin.hashes:
            found.append(f"{lock.name}.lock: {name} has no hash")
        if any(re.fullmatch(pattern, name) for pattern in lock.barred):
            found.append(f"{lock.name}.lock holds {name}, which has no place in it")
    for wanted in _requirements(folder / f"{lock.name}.in"):
        name = canonicalize_name(wanted.name)
        if name not in pins:
            found.append(f"{lock.name}.lock lacks {name}")
        elif not wanted.specifier.contains(pins[name].version, prereleases=True):
            found.append(f"{lock.name}.lock holds {name} {pins[name].version}, not {wanted}")
    return found
