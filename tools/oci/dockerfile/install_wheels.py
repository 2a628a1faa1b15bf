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
import tempfile

from third_party.requirements import pip, source_build
from third_party.requirements.wheel_files import WheelError, wheel_files
from tools.oci import errors
from tools.oci.dockerfile.requirements import read_lock
from tools.oci.errors import ImageError
from tools.oci.layers import left_out


def unpack(wheel: pathlib.Path, site_packages: pathlib.Path, listed: str = "") -> None:
    """Writes a wheel's files, 0755 if executable and 0644 if not.

    Args:
        listed: what is left out; see `tools.oci.layers.left_out`.
    Raises:
        ImageError: two distributions have different content for one file, or a path leads outside.
    """
    unwanted = left_out.pattern(listed)
    try:
        for file in wheel_files(wheel):
            target = site_packages / file.path
            if unwanted.search(file.path):
                continue
            if target.exists() and target.read_bytes() != file.content:
                raise ImageError(f"{wheel.name} and another wheel differ in {file.path}")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.content)
            target.chmod(0o755 if file.executable else 0o644)
    except WheelError as error:
        raise ImageError(str(error)) from error


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
