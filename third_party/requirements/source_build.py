"""Builds what is published as source alone, to the same bytes on every machine.

`source_builds.json` says with which setuptools (the one that rules_python brings for Bazel 7.4 to 9), with which
variables, and the digest of the wheel that must come out.
"""

import hashlib
import json
import os
import pathlib
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

from third_party.requirements import pip
from third_party.requirements.pip import FetchError

RECIPES = pathlib.Path(__file__).with_name("source_builds.json")

# Stored, not deflated: the bytes are then no matter of the zlib that Python was built with.
_HOOK = """
import sys
sys.path.insert(0, sys.argv[1])
from setuptools import build_meta
build_meta.__legacy__.build_wheel(sys.argv[2], {"--build-option": ["--compression=stored"]})
"""


def recipes() -> dict[str, dict[str, Any]]:
    """What is built from source, by the distribution's name."""
    found: dict[str, dict[str, Any]] = json.loads(RECIPES.read_text(encoding="utf-8"))
    return found


def _build(recipe: dict[str, Any], archive: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
    setuptools = folder / "setuptools"
    pin = recipe["setuptools"]
    line = pip.requirement("setuptools", pin["version"], [f"sha256:{pin['sha256']}"])
    pip.fetch([line], folder / "tools", folder)
    for wheel in (folder / "tools").iterdir():
        with zipfile.ZipFile(wheel) as members:
            members.extractall(setuptools)
    with tarfile.open(archive) as entries:
        entries.extractall(folder / "source")
    (source,) = (folder / "source").iterdir()
    built = folder / "built"
    built.mkdir()
    # Nothing of the user's: no variable, no site-packages, no checkout of git around it, no clock, no chance.
    environment = {
        "GIT_DIR": os.devnull,
        "HOME": str(folder),
        "LC_ALL": "C.UTF-8",
        "PATH": "/usr/bin:/bin",
        "PYTHONHASHSEED": "0",
        "SOURCE_DATE_EPOCH": "315532800",
        "TMPDIR": str(folder),
        "TZ": "UTC",
        **recipe["environment"],
    }
    if "LD_LIBRARY_PATH" in os.environ:  # the interpreter may not start without
        environment["LD_LIBRARY_PATH"] = os.environ["LD_LIBRARY_PATH"]
    base = getattr(sys, "_base_executable", sys.executable)
    done = subprocess.run(
        [base, "-sSBP", "-c", _HOOK, str(setuptools), str(built)],
        cwd=source,
        env=environment,
        umask=0o022,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        last = (done.stdout.strip().splitlines() or ["it said nothing"])[-1]
        raise FetchError(f"{archive.name} cannot be built: {last}")
    (wheel,) = built.iterdir()
    return wheel


def make(
    distribution: str, version: str, hashes: Sequence[str], folder: pathlib.Path
) -> pathlib.Path:
    """Fetches a source archive by its hash and builds its wheel.

    Args:
        distribution: one of `recipes`.
        folder: an empty folder for temporary files and the wheel.
    Raises:
        FetchError: the archive or setuptools cannot be had, or the build fails.
    """
    line = pip.requirement(distribution, version, hashes)
    pip.fetch([line], folder / "archives", folder, source=True)
    (archive,) = (folder / "archives").iterdir()
    return _build(recipes()[distribution], archive, folder)


def tree_digest(files: Mapping[str, bytes]) -> str:
    """One digest of a distribution's files by their paths in site-packages, those apart that an installer writes."""
    lines = [
        f"{hashlib.sha256(content).hexdigest()}  {path}\n"
        for path, content in sorted(files.items())
        if not path.endswith((".pyc", "/INSTALLER", "/RECORD", "/REQUESTED"))
    ]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def digests(wheel: pathlib.Path) -> dict[str, str]:
    """What `source_builds.json` says of a wheel: the digest of its bytes, and of what is imported from it."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if ".data/" not in name]
        tree = tree_digest({name: archive.read(name) for name in names})
    return {"tree_sha256": tree, "wheel_sha256": hashlib.sha256(wheel.read_bytes()).hexdigest()}


def verified(distribution: str, wheel: pathlib.Path) -> pathlib.Path:
    """The wheel, if it is the one that `source_builds.json` names.

    Raises:
        FetchError: it has another digest.
    """
    digest = digests(wheel)["wheel_sha256"]
    wanted = recipes()[distribution]["wheel_sha256"]
    if digest != wanted:
        raise FetchError(
            f"{wheel.name} was built with the digest {digest}, not {wanted} as {RECIPES.name} says; "
            f"after a change of its version: bazel run //third_party/requirements:update"
        )
    return wheel
