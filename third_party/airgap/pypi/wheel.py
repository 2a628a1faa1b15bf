"""Fetches one pinned distribution with pip and lays it out as a directory to import from.

Unpacked wheels are kept in a store beside the user's other caches, one directory a (hash, interpreter), and linked
from there into each repository: two checkouts of this tree on one machine share the bytes and the compile.
"""

import argparse
import compileall
import hashlib
import json
import os
import pathlib
import py_compile
import shutil
import sys
import tempfile

sys.path.append(str(pathlib.Path(__file__).parents[3]))
from third_party.requirements import pip, source_build, wheel_files


def _sha256(path: pathlib.Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _store() -> pathlib.Path:
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return pathlib.Path(
        os.environ.get("RETORT_WHEEL_STORE") or os.path.join(cache, "retort", "wheels")
    )


def _fetch(options: argparse.Namespace, folder: pathlib.Path) -> pathlib.Path:
    """Returns the wheel, downloaded or built; its digest is the lock's, or the one that a build must give."""
    name, version = options.distribution, options.version
    if name in source_build.recipes():
        return source_build.verified(name, source_build.make(name, version, options.hash, folder))
    line = pip.requirement(name, version, options.hash)
    index = pip.Index(name, options.index) if options.index else None
    pip.fetch([line], folder / "wheels", folder, index=index)
    (wheel,) = (folder / "wheels").iterdir()
    return wheel


def _unpack(wheel: pathlib.Path, target: pathlib.Path) -> None:
    for file in wheel_files.wheel_files(wheel):
        program = file.path.startswith("bin/")
        # A script starts with the path of somebody's interpreter; programs are run as modules here.
        if program and file.content.startswith(b"#!"):
            continue
        path = target / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.content)
        path.chmod(0o555 if file.executable or program else 0o444)


def _install(options: argparse.Namespace, home: pathlib.Path) -> None:
    home.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home.parent, prefix=f".{home.name}.") as temporary:
        folder = pathlib.Path(temporary)
        wheel = _fetch(options, folder)
        ready = folder / "ready"
        site_packages = ready / "site-packages"
        site_packages.mkdir(parents=True)
        _unpack(wheel, site_packages)
        compileall.compile_dir(
            site_packages,
            quiet=2,
            maxlevels=50,
            stripdir=str(site_packages),
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )
        description = {
            "distribution": options.distribution,
            "version": options.version,
            "wheel": wheel.name,
            "sha256": _sha256(wheel),
        }
        (ready / "wheel.json").write_text(json.dumps(description, indent=2, sort_keys=True) + "\n")
        try:
            ready.rename(home)
        except OSError:
            if not home.is_dir():  # else another build was quicker, with the same bytes
                raise


def _link(home: pathlib.Path, out: pathlib.Path) -> None:
    def link(source: str, target: str) -> str:
        try:
            os.link(source, target)
        except OSError:  # another file system, or too many links
            shutil.copy2(source, target)
        return target

    shutil.copytree(home, out, copy_function=link, dirs_exist_ok=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--distribution", required=True)
    parser.add_argument("--version", required=True)
    parser.add_argument("--hash", action="append", required=True)
    parser.add_argument("--interpreter", required=True, type=pathlib.Path)
    parser.add_argument("--index", help="where to look after pip's own settings")
    parser.add_argument("--out", required=True, type=pathlib.Path)
    options = parser.parse_args()
    os.umask(0o022)
    # What the layout depends on: the pin, the interpreter whose bytecode it holds, how it is built, this code.
    key = hashlib.sha256(options.interpreter.read_bytes())
    for code in (__file__, pip.__file__, wheel_files.__file__):
        key.update(pathlib.Path(code).read_bytes())
    key.update("\0".join([options.version, *sorted(options.hash)]).encode())
    if options.distribution in source_build.recipes():
        key.update(
            source_build.RECIPES.read_bytes() + pathlib.Path(source_build.__file__).read_bytes()
        )
    home = _store() / f"{options.distribution}-{options.version}-{key.hexdigest()[:24]}"
    try:
        if not home.is_dir():
            _install(options, home)
        _link(home, options.out)
    except (pip.FetchError, wheel_files.WheelError) as error:
        pip.refuse(error)
    except OSError as error:
        pip.refuse(f"{options.distribution} cannot be unpacked below {home.parent}: {error}")


if __name__ == "__main__":
    main()
