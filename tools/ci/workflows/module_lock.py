"""Sees to MODULE.bazel.lock: `python3 tools/ci/workflows/module_lock.py --out FOLDER`, with Bazel 7.4 or newer.

Without one it is made, and with one it must be what the modules resolve to. Where it is missing or out of date, the
right one is left in the folder, to be checked in, and the exit code is 1. Only the standard library of Python 3.11 is
used here.
"""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Sequence

CHECKOUT = pathlib.Path(__file__).resolve().parents[3]
_LOCK = "MODULE.bazel.lock"


def resolve(checkout: pathlib.Path, mode: str) -> int:
    """Resolves every module and extension that the targets need; returns Bazel's exit code."""
    command = ["./tools/bazel", "build", "--nobuild", f"--lockfile_mode={mode}", "//..."]
    environment = os.environ | {"RETORT_ENGINE": "upstream"}
    return subprocess.run(command, cwd=checkout, env=environment, check=False).returncode


def check(checkout: pathlib.Path, out: pathlib.Path) -> int:
    """Returns 0 if the lock that is checked in holds; else leaves the right one in `out`, and returns 1."""
    lock = checkout / _LOCK
    state = "is not checked in"
    if lock.exists():
        if resolve(checkout, "error") == 0:
            print(f"{_LOCK} holds")
            return 0
        state = "is out of date, or could not be resolved"
    if code := resolve(checkout, "update"):
        print(f"::error::{_LOCK} {state}, and Bazel ended with {code} when it made one")
        return 1
    out.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(lock, out / _LOCK)
    print(
        f"::error file={_LOCK}::{_LOCK} {state}: check in the one that this job leaves as an artefact"
    )
    return 1


def main(arguments: Sequence[str] | None = None) -> int:
    """As `check`."""
    parser = argparse.ArgumentParser(prog="tools/ci/workflows/module_lock.py", description=__doc__)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    return check(CHECKOUT, parser.parse_args(arguments).out.resolve())


if __name__ == "__main__":
    sys.exit(main())
