"""Installs pinned distributions into a site-packages as the rules' images have it: for the Dockerfile.

    python3.11 -m tools.oci.dockerfile.install_wheels --requirements LIST --left-out LIST --site-packages DIR

pip fetches wheels and checks them against the list's hashes; what is published as source alone is built to the digest
that is checked in. A wheel's files go where PEP 427 says, as the wheel has them: pip itself would add an INSTALLER and
write each RECORD anew. Programs are left out (an image starts its own with `python -m`), and so are files that Bazel
would read.
"""

import argparse
import compileall
import os
import pathlib
import py_compile
import re
import tempfile
import zipfile

from third_party.requirements import pip, source_build
from tools.oci import errors
from tools.oci.dockerfile.requirements import read_lock
from tools.oci.errors import ImageError
from tools.oci.layers import left_out

_BAZEL_FILES = frozenset(
    {"BUILD", "BUILD.bazel", "MODULE.bazel", "REPO.bazel", "WORKSPACE", "WORKSPACE.bazel"}
)
_EXECUTABLE = 0o100


def destination(member: str, unwanted: re.Pattern[str]) -> str | None:
    """Where a wheel's member goes below site-packages, or None if it is left out.

    Args:
        unwanted: see `tools.oci.layers.left_out`.
    Raises:
        ImageError: it would go elsewhere.
    """
    head, _, rest = member.partition("/")
    path = member
    if head.endswith(".data"):
        scheme, _, path = rest.partition("/")
        if scheme not in ("purelib", "platlib"):
            return None
    parts = pathlib.PurePosixPath(path).parts
    if path.startswith("/") or ".." in parts:
        raise ImageError(f"the member {member!r} of a wheel would be written outside")
    return None if unwanted.search(path) or parts[-1] in _BAZEL_FILES else path


def unpack(wheel: pathlib.Path, site_packages: pathlib.Path, listed: str = "") -> None:
    """Writes a wheel's files, 0755 if executable and 0644 if not.

    Args:
        listed: what is left out; see `tools.oci.layers.left_out`.
    Raises:
        ImageError: two distributions have different content for one file, or a path leads outside.
    """
    unwanted = left_out.pattern(listed)
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            path = None if member.is_dir() else destination(member.filename, unwanted)
            if path is None:
                continue
            target = site_packages / path
            content = archive.read(member)
            if target.exists() and target.read_bytes() != content:
                raise ImageError(f"{wheel.name} and another wheel differ in {path}")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
            target.chmod(0o755 if member.external_attr >> 16 & _EXECUTABLE else 0o644)


def fetch(requirements: str, folder: pathlib.Path) -> list[pathlib.Path]:
    """The wheels of a list, downloaded or built.

    Args:
        requirements: a list's text, with hashes as a lock has them.
        folder: for the wheels and what they are built from.
    Raises:
        ImageError: one cannot be had.
    """
    indexes = pip.read_indexes(requirements)
    lines = {
        name: " ".join(pin.text.replace("\\\n", " ").split())
        for name, pin in read_lock(requirements).items()
    }
    common = [
        line for name, line in lines.items() if name not in {*indexes, *source_build.recipes()}
    ]
    wheels = folder / "wheels"
    made = []
    try:
        pip.fetch(common, wheels, folder)
        for name, index in indexes.items():
            pip.fetch([lines[name]], wheels, folder, index=index)
        for name in sorted(source_build.recipes().keys() & lines.keys()):
            pinned, *hashes = lines[name].split()
            work = folder / name
            work.mkdir()
            wheel = source_build.make(
                name,
                pinned.partition("==")[2],
                [digest.removeprefix("--hash=") for digest in hashes],
                work,
            )
            made.append(source_build.verified(name, wheel))
    except pip.FetchError as error:
        raise ImageError(str(error)) from error
    return sorted([*wheels.glob("*.whl"), *made], key=lambda path: path.name)


def add_byte_code(site_packages: pathlib.Path) -> None:
    """Compiles every Python file with this interpreter, for use where it lies (PEP 552: by hash, unchecked).

    A file that is not valid Python, such as a template, stays without.
    """
    compileall.compile_dir(
        site_packages,
        quiet=2,
        workers=0,
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )


def main() -> None:
    """Fetches, unpacks and compiles.

    Raises:
        ImageError: what is asked for cannot be had.
    """
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--requirements", required=True, type=pathlib.Path)
    parser.add_argument(
        "--left-out", required=True, type=pathlib.Path, help="a list of directories"
    )
    parser.add_argument("--site-packages", required=True, type=pathlib.Path)
    options = parser.parse_args()
    listed = options.left_out.read_text(encoding="utf-8")
    os.umask(0o022)
    with tempfile.TemporaryDirectory(prefix="wheels-") as name:
        for wheel in fetch(options.requirements.read_text(encoding="utf-8"), pathlib.Path(name)):
            unpack(wheel, options.site_packages, listed)
    add_byte_code(options.site_packages)


if __name__ == "__main__":
    errors.run(main)
