"""Sees to the programs of Debian that a gate runs: `python3 tools/ci/programs.py PROGRAM[=PACKAGE]...`.

What is missing is installed by apt, as root, and said; where that cannot be, one line says what to install.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence


def missing(wanted: Sequence[str]) -> dict[str, str]:
    """Program to package, of those that are not on PATH. A package is named like its program unless it is said."""
    pairs = [name.partition("=") for name in wanted]
    return {
        program: package or program
        for program, _, package in pairs
        if shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None
    }


def install(packages: Mapping[str, str]) -> int:
    """Installs packages by apt; returns an exit code."""
    names = sorted(set(packages.values()))
    if not names:
        return 0
    if shutil.which("apt-get") is None or (os.getuid() != 0 and shutil.which("sudo") is None):
        print(f"install these first: {' '.join(names)}", file=sys.stderr)
        return 2
    print(f"installing {' '.join(names)}", file=sys.stderr, flush=True)
    root = [] if os.getuid() == 0 else ["sudo", "-n"]
    environment = ["env", "DEBIAN_FRONTEND=noninteractive"]
    for command in (["update"], ["install", "--yes", "--no-install-recommends", *names]):
        done = subprocess.run([*root, *environment, "apt-get", "-qq", *command], check=False)
        if done.returncode:
            return done.returncode
    return 0


if __name__ == "__main__":
    sys.exit(install(missing(sys.argv[1:])))
