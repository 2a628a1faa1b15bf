"""Renders a kustomization as `kubectl apply -k` does, from files that the build laid out."""

import argparse
import pathlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence

from tools.python.wheel_programs import wheel_program


def main(arguments: Sequence[str]) -> int:
    """Writes what kubectl renders."""
    parser = argparse.ArgumentParser(prog="kustomize")
    parser.add_argument("--directory", required=True, help="of the kustomization")
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("files", nargs="+", help="all that it reads")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        # Copies: kustomize reads nothing that a link leads out of its directory to, and the build lays out links.
        for file in options.files:
            target = pathlib.Path(temporary, file)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
        done = subprocess.run(
            [wheel_program("kubectl"), "kustomize", options.directory],
            cwd=temporary,
            stdout=subprocess.PIPE,
            check=False,
        )
    if done.returncode == 0:
        options.out.write_bytes(done.stdout)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
