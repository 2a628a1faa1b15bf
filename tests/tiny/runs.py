"""Training as a user types it, in processes that a test may interrupt or kill."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import yaml

from retort.core.forks.client import ADDRESS, Process, run, start
from tests.tiny.inputs import write_documents, write_recipe, write_weights

Done = subprocess.CompletedProcess[str]
_STEP_FILE = re.compile(r"/rank-(\d+)/error\.json\.step$")
_SEAL = re.compile(r"seal (sha256:[0-9a-f]{64}) ")


def tiny_recipe(root: Path, sections: Mapping[str, Mapping[str, object]] | None = None) -> Path:
    """Write the tiny recipe with its documents and weights, and some keys of its own."""
    documents = write_documents(root / "documents")
    file = write_recipe(root / "tiny.yaml", documents, write_weights(root / "weights"))
    recipe = yaml.safe_load(file.read_text(encoding="utf-8"))
    for name, values in (sections or {}).items():
        recipe.setdefault(name, {}).update(values)
    file.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return file


def typed(recipe: Path, out: Path, *more: str, settings: Sequence[str] = ()) -> list[str]:
    """The arguments of a run; each setting is a `key=value`."""
    chosen = [part for one in settings for part in ("--set", one)]
    return ["--config", str(recipe), "--out", str(out), *chosen, *more]


def train(arguments: Sequence[str]) -> Done:
    """Train to the end, in processes of its own, which are forked where a test sees to it."""
    return run(["retort.train.main", *arguments])


def train_anew(
    arguments: Sequence[str],
    umask: int = 0o022,
    emulated: str | None = None,
    **environment: str,
) -> Done:
    """Train to the end as it is typed, in an environment that differs.

    Args:
        emulated: the processor that QEMU (qemu-user) is to be for it; that of this machine verifies the result.
    """
    emulator = [] if emulated is None else ["qemu-x86_64", "-cpu", emulated]
    return subprocess.run(
        [*emulator, *_command(arguments)],
        capture_output=True,
        text=True,
        check=False,
        umask=umask,
        env={**_environment(), **environment},
    )


def begin(arguments: Sequence[str], log: Path) -> Process:
    """Begin to train; `log` takes what it says on standard error."""
    with log.with_suffix(".seal").open("w+", encoding="utf-8") as output, log.open("w") as errors:
        return start(["retort.train.main", *arguments], stdout=output, stderr=errors)


def seal_said(log: Path) -> str:
    """The seal that a run has ended with which was begun with this log."""
    return seal_of(log.with_suffix(".seal").read_text(encoding="utf-8"))


def sealed(done: Done) -> str:
    """The seal of a run that ended well."""
    assert done.returncode == 0, done.stderr
    return seal_of(done.stdout)


def seal_of(output: str) -> str:
    """The seal that the last line of standard output names."""
    match = _SEAL.match(output.splitlines()[-1])
    assert match is not None, output
    return match[1]


def steps_written(run: Path) -> int:
    """How many steps metrics.jsonl holds."""
    try:
        return (run / "metrics.jsonl").read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


def checkpoints(run: Path) -> list[str]:
    """The names in the folder of checkpoints, those of hidden directories among them."""
    try:
        return sorted(os.listdir(run / "checkpoints"))
    except FileNotFoundError:
        return []


def evaluation(run: Path) -> dict[str, float]:
    """What the verifying process measured."""
    values: dict[str, float] = json.loads((run / "evaluation.json").read_text())
    return values


def as_if_killed_at_the_end(run: Path, target: Path) -> Path:
    """A copy of a finished run as a kill leaves it before its last file is in place."""
    shutil.copytree(run, target)
    (target / "run.json").unlink()
    return target


def wait_until(condition: Callable[[], object], process: Process) -> bool:
    """Wait for something that a process does; false if it ended before."""
    while not condition():
        if process.poll() is not None:
            return bool(condition())
        time.sleep(0.001)
    return True


def workers(process: Process) -> list[int]:
    """The processes that train, by rank; for a run of one process that one.

    They are forked on behalf of `process`, or of this one: no other run may be going on.
    """
    found = {}
    for number in _descendants(os.getpid()):
        with suppress(OSError):
            for file in Path(f"/proc/{number}/fd").iterdir():
                # Where a worker keeps its step, for as long as it has something to tell.
                match = _STEP_FILE.search(os.readlink(file))
                if match is not None:
                    found[int(match[1])] = number
    return [found[rank] for rank in sorted(found)] or [process.pid]


def _descendants(number: int) -> Iterator[int]:
    for children in Path(f"/proc/{number}/task").glob("*/children"):
        with suppress(OSError):
            for child in map(int, children.read_text().split()):
                yield child
                yield from _descendants(child)


def _environment() -> dict[str, str]:
    """Without a test's server: these processes have their own, as a user's."""
    return {name: value for name, value in os.environ.items() if name != ADDRESS}


def _command(arguments: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "retort.train.main", *arguments]
