"""Compiles the kernels as the BUILD files have it, to the same bytes: for the Dockerfile.

python3.11 -m tools.oci.dockerfile.compile_kernels --out DIR
"""

import argparse
import pathlib
import platform
import sys
from typing import Any

from tools.zig import cc

_SOURCES = pathlib.Path("python/retort/kernels/c/sources.bzl")


def arguments(root: pathlib.Path, machine: str, out: pathlib.Path) -> list[str]:
    """What `//tools/zig:cc` is called with for an architecture."""
    said: dict[str, Any] = {}
    # Lists, names and a comprehension: what Starlark and Python have in common.
    exec((root / _SOURCES).read_text(encoding="utf-8"), said)
    return [
        f"--target={machine}{said['C_LIBRARY']}",
        f"--out={out / f'kernels_{machine}.so'}",
        "--shared",
        *(f"--set={suffix}={processor}" for suffix, processor in said["SETS"][machine].items()),
        *(f"--for-each={_path(label)}" for label in said["FOR_EACH"]),
        *(f"--source={_path(label)}" for label in said["SOURCES"]),
    ]


def _path(label: str) -> str:
    return label.removeprefix("//").replace(":", "/")


def main() -> int:
    """Compiles in the current directory; returns the compiler's exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", required=True, type=pathlib.Path)
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    return cc.main(arguments(pathlib.Path.cwd(), platform.machine(), out))


if __name__ == "__main__":
    sys.exit(main())
