"""Trains the smoke recipe again and again in worlds made different on purpose, and once with another seed.

By one process twice, by two, and by two that are killed with kill -9 on the way and three that go on: all
these seals must be equal, and the one of the other seed must differ, so that the gate cannot pass by comparing
nothing. Python's hash seed is drawn anew by every process.
"""

import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
_STEPS, _EVERY = 16, 6
_SETTINGS = (
    f"train.steps={_STEPS}",
    "train.shards=4",
    "train.threads=1",  # several processes share the cores
    "evaluate.min_accuracy=0",
    f"checkpoints.every={_EVERY}",
)
_RECIPE = ("--config", "smoke", *(word for one in _SETTINGS for word in ("--set", one)))


def _command(out: pathlib.Path, *settings: str) -> list[str]:
    return ["./tools/bazel", "run", "//train", "--", *_RECIPE, *settings, "--out", str(out)]


def _train(out: pathlib.Path, umask: int, environment: dict[str, str], *settings: str) -> str:
    command = _command(out, *settings)
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


def _killed(out: pathlib.Path, *settings: str) -> int:
    """Trains until a checkpoint is sealed and kills everything at once; returns the steps made."""
    training = subprocess.Popen(
        _command(out, *settings), cwd=CHECKOUT, stdout=subprocess.DEVNULL, start_new_session=True
    )
    checkpoint = out / "checkpoints" / f"step-{_EVERY:08}"
    while training.poll() is None and not checkpoint.exists():
        time.sleep(0.01)
    if training.poll() is not None:
        sys.exit(f"training ended with exit code {training.returncode} before it could be killed")
    os.killpg(training.pid, signal.SIGKILL)
    training.wait()
    if (out / "run.json").exists():
        sys.exit("training was done before it could be killed")
    return (out / "metrics.jsonl").read_bytes().count(b"\n")


def main() -> int:
    """Prints the seals; 1 unless all of seed 0 are equal and the one of seed 1 differs."""
    with tempfile.TemporaryDirectory(prefix="retort-reproducibility-") as name:
        folder = pathlib.Path(name)
        first = _train(folder / "one", 0o022, {"TZ": "UTC", "OMP_NUM_THREADS": "1"})
        elsewhere = {
            "TZ": "Asia/Kathmandu",
            "LANG": "tr_TR.UTF-8",
            "USER": "nobody",
            "OMP_NUM_THREADS": "2",
        }
        others = {
            "1 process, elsewhere": _train(folder / "another place" / "two", 0o077, elsewhere),
            "2 processes": _train(folder / "three", 0o022, {}, "--nproc", "2"),
        }
        step = _killed(folder / "four", "--nproc", "2")
        label = f"2 killed in step {step + 1}, then 3"
        others[label] = _train(folder / "four", 0o022, {}, "--nproc", "3")
        control = _train(folder / "five", 0o022, {}, "--set", "train.seed=1")
    print(f"{'seed 0, 1 process':40} {first}")
    for what, seal in others.items():
        print(f"{f'seed 0, {what}':40} {seal}")
    print(f"{'seed 1, 1 process':40} {control}")
    if differing := [what for what, seal in others.items() if seal != first]:
        print(f"NOT reproducible: another seal with {', '.join(differing)}", file=sys.stderr)
        return 1
    if first == control:
        print("the control failed: another seed gave the same seal", file=sys.stderr)
        return 1
    print(
        "reproducible: all seals of seed 0 are equal, and that of seed 1 differs", file=sys.stderr
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
