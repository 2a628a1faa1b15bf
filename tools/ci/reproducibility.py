"""Trains the smoke recipe again and again in worlds made different on purpose, and once with another seed.

By one process twice, by two, and by two that are killed with kill -9 on the way and three that go on: all
these seals must be equal, and the one of the other seed must differ, so that the gate cannot pass by comparing
nothing. Python's hash seed is drawn anew by every process. Two run at a time, so that each has a busy neighbour.
"""

import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
_STEPS, _EVERY = 16, 6
_SETTINGS = (
    f"train.steps={_STEPS}",
    "train.shards=4",
    "train.threads=1",  # several processes share the cores
    "data.held_out=0.02",  # few documents to be evaluated, all others to be tokenised
    "evaluate.min_accuracy=0",
    f"checkpoints.every={_EVERY}",
)
_RECIPE = ("--config", "smoke", *(word for one in _SETTINGS for word in ("--set", one)))


def built(script: pathlib.Path) -> pathlib.Path:
    """What `bazel run //train` would start. An engine of its own for another user would only take time."""
    command = ["./tools/bazel", "run", f"--script_path={script}", "//train"]
    if subprocess.run(command, cwd=CHECKOUT, check=False).returncode:
        sys.exit("//train cannot be built")
    return script


def _command(program: pathlib.Path, out: pathlib.Path, *settings: str) -> list[str]:
    return [str(program), *_RECIPE, *settings, "--out", str(out)]


def _train(
    program: pathlib.Path,
    out: pathlib.Path,
    *settings: str,
    umask: int = 0o022,
    **environment: str,
) -> str:
    """The seal of a run."""
    return sealed(_command(program, out, *settings), out.name, umask=umask, **environment)


def sealed(command: list[str], name: str, *, umask: int = 0o022, **environment: str) -> str:
    """The seal of a run. What it says is shown if it fails; else two would speak at once.

    Args:
        name: of the run, for the line that says how long it took.
        environment: variables beside this process's own.
    """
    started = time.monotonic()
    done = subprocess.run(
        command,
        cwd=CHECKOUT,
        env=os.environ | environment,
        umask=umask,
        capture_output=True,
        text=True,
        check=False,
    )
    said = f"{done.stdout}{done.stderr}"
    if done.returncode:
        sys.exit(f"{said}\ntraining failed with exit code {done.returncode}: {' '.join(command)}")
    lines = done.stdout.splitlines()
    if not lines or not (match := re.match(r"seal (sha256:[0-9a-f]{64}) ", lines[-1])):
        sys.exit(f"{said}\nno seal on the last line of: {' '.join(command)}")
    print(f"{time.monotonic() - started:5.0f} s  {name}", file=sys.stderr, flush=True)
    return match[1]


def _killed(program: pathlib.Path, out: pathlib.Path, *settings: str) -> int:
    """Trains until a checkpoint is sealed and kills everything at once; returns the steps made."""
    training = subprocess.Popen(
        _command(program, out, *settings),
        cwd=CHECKOUT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
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


def _killed_and_resumed(program: pathlib.Path, out: pathlib.Path) -> tuple[int, str]:
    """The steps that two processes made until they were killed, and the seal of the three that went on."""
    return _killed(program, out, "--nproc", "2"), _train(program, out, "--nproc", "3")


def main() -> int:
    """Prints the seals; 1 unless all of seed 0 are equal and the one of seed 1 differs."""
    elsewhere = {
        "TZ": "Asia/Kathmandu",
        "LANG": "tr_TR.UTF-8",
        "USER": "nobody",
        "OMP_NUM_THREADS": "2",
    }
    with (
        tempfile.TemporaryDirectory(prefix="retort-reproducibility-") as name,
        ThreadPoolExecutor(2) as two_at_a_time,
    ):
        folder = pathlib.Path(name)
        program = built(folder / "train")
        run = two_at_a_time.submit
        resumed = run(_killed_and_resumed, program, folder / "killed")
        alone = run(_train, program, folder / "one", TZ="UTC", OMP_NUM_THREADS="1")
        there = folder / "another place" / "elsewhere"
        away = run(_train, program, there, umask=0o077, **elsewhere)
        both = run(_train, program, folder / "two", "--nproc", "2")
        other_seed = run(_train, program, folder / "other seed", "--set", "train.seed=1")
        first, control = alone.result(), other_seed.result()
        step, seal = resumed.result()
        others = {
            "1 process, elsewhere": away.result(),
            "2 processes": both.result(),
            f"2 killed in step {step + 1}, then 3": seal,
        }
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
