"""Copies the sources that a program of this repository needs into a site-packages: for the Dockerfile.

python3.11 -m tools.oci.dockerfile.install_app --program training --site-packages DIR
"""

import argparse
import pathlib
import shutil

from tools.oci import errors
from tools.oci.dockerfile.build_graph import closure
from tools.oci.dockerfile.install_wheels import add_byte_code
from tools.oci.dockerfile.requirements import PROGRAMS

IMPORTS = pathlib.PurePosixPath("python")
"""Where our packages lie in the repository."""


def install(root: pathlib.Path, image: str, site_packages: pathlib.Path) -> None:
    """Copies what the image's program needs, and nothing else of the repository.

    Raises:
        ImageError: BUILD files are not understood.
    """
    for path in closure(root, PROGRAMS[image]).files:
        target = site_packages / path.relative_to(IMPORTS)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / path, target)
        target.chmod(0o644)


def main() -> None:
    """Copies from the current directory, and compiles."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--program", required=True, choices=PROGRAMS)
    parser.add_argument("--site-packages", required=True, type=pathlib.Path)
    options = parser.parse_args()
    install(pathlib.Path.cwd(), options.program, options.site_packages)
    add_byte_code(options.site_packages)


if __name__ == "__main__":
    errors.run(main)
