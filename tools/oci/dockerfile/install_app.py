"""Copies the sources that a program of this repository needs into a site-packages: for the Dockerfile.

python3.11 -m tools.oci.dockerfile.install_app --program training --site-packages DIR --made LABEL=FILE
"""

import argparse
import pathlib
import shutil
from collections.abc import Mapping
from types import MappingProxyType

from tools.oci import errors
from tools.oci.dockerfile.build_graph import closure
from tools.oci.dockerfile.install_wheels import add_byte_code
from tools.oci.dockerfile.requirements import PROGRAMS
from tools.oci.errors import ImageError

IMPORTS = pathlib.PurePosixPath("python")
"""Where our packages lie in the repository."""


def install(
    root: pathlib.Path,
    image: str,
    site_packages: pathlib.Path,
    made: Mapping[str, pathlib.Path] = MappingProxyType({}),
) -> None:
    """Copies what the image's program needs, and nothing else of the repository.

    Args:
        made: of each label that stands for what rules make, the file; it lies in the label's package.
    Raises:
        ImageError: BUILD files are not understood, or a file that rules make was not given.
    """
    found = closure(root, PROGRAMS[image])
    for path in found.files:
        _copy(root / path, site_packages / path.relative_to(IMPORTS), 0o644)
    for label in found.made:
        if label not in made:
            raise ImageError(f"--made {label}=FILE: {PROGRAMS[image]} needs it")
        package = pathlib.PurePosixPath(label.removeprefix("//").partition(":")[0])
        # As Bazel has what it makes.
        _copy(made[label], site_packages / package.relative_to(IMPORTS) / made[label].name, 0o755)


def _copy(source: pathlib.Path, target: pathlib.Path, mode: int) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(mode)


def _made(text: str) -> tuple[str, pathlib.Path]:
    label, separator, path = text.partition("=")
    if not separator:
        raise argparse.ArgumentTypeError(f"{text!r} is not LABEL=FILE")
    return label, pathlib.Path(path)


def main() -> None:
    """Copies from the current directory, and compiles."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--program", required=True, choices=PROGRAMS)
    parser.add_argument("--site-packages", required=True, type=pathlib.Path)
    parser.add_argument("--made", action="append", default=[], type=_made, metavar="LABEL=FILE")
    options = parser.parse_args()
    install(pathlib.Path.cwd(), options.program, options.site_packages, dict(options.made))
    add_byte_code(options.site_packages)


if __name__ == "__main__":
    errors.run(main)
