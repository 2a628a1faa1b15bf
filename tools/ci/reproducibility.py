"""Trains the smoke recipe twice in worlds made different on purpose, and once with another seed.

The two seals must be equal and the third must differ, so that the gate cannot pass by comparing nothing.
Python's hash seed is drawn anew by every process.
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
_RECIPE = ("--config", "smoke", "--set", "train.steps=40", "--set", "evaluate.min_accuracy=0")


def _train(out: pathlib.Path, umask: int, environment: dict[str, str], *settings: str) -> str:
    command = ["./tools/bazel", "run", "//train", "--", *_RECIPE, *settings, "--out", str(out)]
    done = subprocess.run(
        command,
        cwd=CHECKOUT,
        env=os.environ | environment,
        umask=umask,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"training failed with exit code {done.returncode}: {' '.join(command)}")
    lines = done.stdout.splitlines()
    if not lines or not (match := re.match(r"seal (sha256:[0-9a-f]{64}) ", lines[-1])):
        sys.exit(f"no seal on the last line of: {' '.join(command)}")
    return match[1]


def main() -> int:
    """Prints the three seals; 1 unless exactly the first two are equal."""
    with tempfile.TemporaryDirectory(prefix="retort-reproducibility-") as name:
        folder = pathlib.Path(name)
        first = _train(folder / "one", 0o022, {"TZ": "UTC", "OMP_NUM_THREADS": "1"})
        second = _train(
            folder / "another place" / "two",
            0o077,
            {
                "TZ": "Asia/Kathmandu",
                "LANG": "tr_TR.UTF-8",
                "USER": "nobody",
                "OMP_NUM_THREADS": "2",
            },
        )
        third = _train(folder / "three", 0o022, {}, "--set", "train.seed=1")
    print(f"seed 0, once        {first}")
    print(f"seed 0, once more   {second}")
    print(f"seed 1              {third}")
    if first != second:
        print("NOT reproducible: the same recipe gave two seals", file=sys.stderr)
        return 1
    if first == third:
        print("the control failed: another seed gave the same seal", file=sys.stderr)
        return 1
    print("reproducible: the first two are equal, and the third differs", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
