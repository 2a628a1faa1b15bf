"""`bazel run //third_party/requirements:update [-- --upgrade]`: makes the locks anew with uv.

The indexes and wheelhouses are those of the machine's pip configuration; none is written into the repository.
"""

import argparse
import os
import pathlib
import subprocess
import sys

from third_party.requirements.locks import LOCKS, Lock, header, problems
from tools.python.wheel_programs import wheel_program


def _pip_setting(key: str) -> list[str]:
    """One setting of pip, in pip's own order: environment, then configuration files."""
    base = getattr(sys, "_base_executable", sys.executable)
    for section in (":env:", "global", "install", "download"):
        command = [base, "-m", "pip", "config", "get", f"{section}.{key}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return done.stdout.split()
    return []


def _uv_environment(lock: Lock) -> dict[str, str]:
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("UV_", "PIP_", "PYTHON"))
    }
    if index := _pip_setting("index-url"):
        environment["UV_DEFAULT_INDEX"] = index[0]
    # uv reads local indexes as flat folders, pip as trees: only addresses that both read alike are handed on.
    if extra := [url for url in _pip_setting("extra-index-url") if url.startswith("http")]:
        environment["UV_INDEX"] = " ".join(extra)
    if lock.wheelhouse and (folders := _pip_setting("find-links")):
        environment["UV_FIND_LINKS"] = ",".join(folders)
    return environment


def _compile(lock: Lock, folder: pathlib.Path, upgrade: bool) -> None:
    target = folder / f"{lock.name}.lock"
    before = target.read_text() if target.exists() else None
    command = [
        *(wheel_program("uv"), "pip", "compile", f"{lock.name}.in", "--python", sys.executable),
        *("--output-file", target.name, "--config-file", "uv.toml"),
        *(
            "--generate-hashes",
            "--no-header",
            "--annotation-style",
            "split",
            "--no-strip-extras",
            "--quiet",
        ),
        *("--python-version", "3.11", "--python-platform", "x86_64-manylinux_2_28"),
        *("--upgrade",) * upgrade,
    ]
    print(f"resolving {lock.name}.lock", file=sys.stderr, flush=True)
    try:
        done = subprocess.run(command, cwd=folder, env=_uv_environment(lock), check=False)
        if done.returncode:
            sys.exit(f"{lock.name}.in has no solution with this machine's indexes (see above)")
        target.write_text(header(lock, folder) + target.read_text())
        if found := problems(lock, folder):
            sys.exit("\n".join(found))
    except BaseException:
        if before is not None:
            target.write_text(before)
        raise


def main() -> None:
    """Writes every lock, in the order in which they constrain each other."""
    parser = argparse.ArgumentParser(prog="bazel run //third_party/requirements:update --")
    parser.add_argument(
        "--upgrade", action="store_true", help="take newer versions than those locked"
    )
    options = parser.parse_args()
    checkout = os.environ.get("BUILD_WORKSPACE_DIRECTORY")
    if checkout is None:
        sys.exit("run it through Bazel: it writes into the checkout")
    for lock in LOCKS:
        _compile(lock, pathlib.Path(checkout, "third_party/requirements"), options.upgrade)


if __name__ == "__main__":
    main()
