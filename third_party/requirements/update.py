"""`bazel run //third_party/requirements:update [-- --upgrade]`: makes the locks anew with uv.

It looks where pip's settings on this machine say; none of them is written into the repository. Where they do not
suffice, what a lock's header names is asked too.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Sequence

from third_party.requirements import source_build
from third_party.requirements.locks import LOCKS, Lock, header, problems, read_pins
from third_party.requirements.pip import FetchError, Index, refuse, settings
from tools.python.wheel_programs import wheel_program


def _uv_environment(lock: Lock, indexes: Sequence[Index]) -> dict[str, str]:
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("UV_", "PIP_", "PYTHON"))
    }
    where = settings()
    if index := where.get("index-url", where.get("pypi-url")):
        environment["UV_DEFAULT_INDEX"] = index
    # uv reads local indexes as flat folders, pip as trees: only addresses that both read alike are handed on.
    extra = where.get("extra-index-url", "").split()
    if http := [url for url in extra if url.startswith("http")]:
        environment["UV_INDEX"] = " ".join(http)
    folders = where.get("find-links", "").split() if lock.wheelhouse else []
    # A distribution's page of an index is a list of links: so no other distribution comes from there.
    pages = [f"{one.chosen().rstrip('/')}/{one.distribution}/" for one in indexes]
    if folders or pages:
        environment["UV_FIND_LINKS"] = ",".join([*folders, *pages])
    if certificates := where.get("cert"):
        environment["SSL_CERT_FILE"] = certificates
    return environment


def _solve(lock: Lock, folder: pathlib.Path, upgrade: bool) -> None:
    command = [
        *(wheel_program("uv"), "pip", "compile", f"{lock.name}.in", "--python", sys.executable),
        *("--output-file", f"{lock.name}.lock", "--config-file", "uv.toml"),
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
    said = ""
    for indexes in [(), lock.indexes] if lock.indexes else [()]:
        done = subprocess.run(
            command,
            cwd=folder,
            env=_uv_environment(lock, indexes),
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode == 0:
            return
        said += done.stderr
        for index in indexes:
            said += f"{index.distribution} was looked for at {index.chosen()} too; {index.variable} replaces it\n"
    raise FetchError(f"{lock.name}.in has no solution with this machine's indexes:\n{said}")


def _compile(lock: Lock, folder: pathlib.Path, upgrade: bool) -> None:
    target = folder / f"{lock.name}.lock"
    before = target.read_text() if target.exists() else None
    print(f"resolving {target.name}", file=sys.stderr, flush=True)
    try:
        _solve(lock, folder, upgrade)
        target.write_text(header(lock, folder) + target.read_text())
        if found := problems(lock, folder):
            raise FetchError("\n".join(found))
    except BaseException:
        if before is not None:
            target.write_text(before)
        raise


def _build(folder: pathlib.Path) -> None:
    """Writes the digests of what is built from source."""
    pins = read_pins((folder / "cpu.lock").read_text())
    recipes = source_build.recipes()
    for name, recipe in recipes.items():
        with tempfile.TemporaryDirectory() as temporary:
            pin = pins[name]
            wheel = source_build.make(name, str(pin.version), pin.hashes, pathlib.Path(temporary))
            recipe.update(source_build.digests(wheel))
    text = json.dumps(recipes, indent=2, sort_keys=True)
    (folder / source_build.RECIPES.name).write_text(text + "\n")


def main() -> None:
    """Writes every lock, in the order in which they constrain each other, and what comes of the sources in them."""
    parser = argparse.ArgumentParser(prog="bazel run //third_party/requirements:update --")
    parser.add_argument(
        "--upgrade", action="store_true", help="take newer versions than those locked"
    )
    options = parser.parse_args()
    checkout = os.environ.get("BUILD_WORKSPACE_DIRECTORY")
    if checkout is None:
        sys.exit("run it through Bazel: it writes into the checkout")
    folder = pathlib.Path(checkout, "third_party/requirements")
    try:
        for lock in LOCKS:
            _compile(lock, folder, options.upgrade)
        _build(folder)
    except FetchError as error:
        refuse(error)


if __name__ == "__main__":
    main()
