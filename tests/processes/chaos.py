"""Runs whose processes are killed with kill -9, again and again, until they are done all the same."""

import os
import random
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from retort.core.forks.client import Process
from retort.core.seal import verify
from tests.tiny.runs import (
    begin,
    checkpoints,
    seal_said,
    sealed,
    steps_written,
    tiny_recipe,
    train,
    typed,
    wait_until,
    workers,
)

SHARDS, MOST = 8, 4
_EVERY = 5


@dataclass
class Chaos:
    """What was done, and what came of it.

    Attributes:
        kills: of processes that were running.
        before_the_first_step: kills before a start had made a step.
        in_a_save: kills while a checkpoint was half-written.
        resumed: kills of starts that had gone on from a checkpoint.
        sizes: numbers of processes of the starts.
        seals: of the runs, each of which was killed many times.
    """

    kills: int = 0
    before_the_first_step: int = 0
    in_a_save: int = 0
    resumed: int = 0
    sizes: set[int] = field(default_factory=set)
    seals: list[str] = field(default_factory=list)


def recipe_to_kill(root: Path, steps: int) -> Path:
    """The tiny recipe with many checkpoints."""
    return tiny_recipe(
        root,
        {
            "train": {"steps": steps, "batch": SHARDS, "shards": SHARDS},
            "checkpoints": {"every": _EVERY},
            "logging": {"tensorboard": False},
        },
    )


def undisturbed(recipe: Path, out: Path) -> str:
    """The seal that all must have."""
    return sealed(train(typed(recipe, out)))


def kill_again_and_again(recipe: Path, place: Path, kills: int, seed: int) -> Chaos:
    """Train until so many kills were survived; a run that comes to its end is followed by another.

    Every start has another number of processes. What is killed is a rank, or what started them.
    """
    chance, chaos = random.Random(seed), Chaos()
    while chaos.kills < kills:
        run = place / f"run-{len(chaos.seals)}"
        while chaos.kills < kills:
            seal = _start_and_kill(recipe, run, chance, chaos)
            if seal is not None:
                break
        else:
            seal = sealed(train(typed(recipe, run, "--nproc", str(MOST - 1))))
        chaos.seals.append(seal)
        assert [name for name in checkpoints(run) if name.startswith(".")] == []
    return chaos


def _start_and_kill(recipe: Path, run: Path, chance: random.Random, chaos: Chaos) -> str | None:
    """One start and its kill; the seal of a run that was quicker than its killer."""
    every = set(range(1, MOST + 1))
    # Each has its turn once; from then on any of them comes.
    size = chance.choice(sorted(every - chaos.sizes or every))
    chaos.sizes.add(size)
    log = run.with_suffix(".log")
    seen = _Start(run, log, time.time_ns(), _newest(run), size)
    process = begin(typed(recipe, run, "--nproc", str(size)), log)
    moment = chance.choice([_at_a_start, _at_a_step, _at_a_save, _at_a_save])
    in_a_save = moment(seen, process, chance)
    family = workers(process)
    victim = chance.choice([process.pid, *family])
    alive = process.poll() is None
    try:
        os.kill(victim, signal.SIGKILL)
    except ProcessLookupError:
        alive = False
    _signal(family, signal.SIGCONT)
    process.wait()
    text = log.read_text()
    assert "Traceback" not in text, text
    if process.returncode == 0:
        return seal_said(log)
    assert alive, text
    _wait_for_the_end_of(family)
    chaos.kills += 1
    chaos.before_the_first_step += seen.steps() == 0
    chaos.in_a_save += in_a_save
    chaos.resumed += seen.done > 0
    for name in checkpoints(run):
        if not name.startswith("."):
            verify(run / "checkpoints" / name, kind="checkpoint")
    return None


@dataclass(frozen=True)
class _Start:
    """A start of a run.

    Attributes:
        time: nanoseconds since 1970.
        done: the step that it goes on after.
    """

    run: Path
    log: Path
    time: int
    done: int
    size: int

    def steps(self) -> int:
        """How many steps it has made. It first cuts off those behind its checkpoint."""
        file = self.run / "metrics.jsonl"
        began = file.exists() and file.stat().st_mtime_ns > self.time
        return steps_written(self.run) - self.done if began else 0


def _at_a_start(start: _Start, process: Process, chance: random.Random) -> bool:
    """While ranks begin, or when they have met and take over a checkpoint."""
    if chance.random() < 0.5:
        wait_until(lambda: len(workers(process)) == start.size, process)
        _sleep(chance.uniform(0, 3), process)
    else:
        wait_until(lambda: "# recipe" in start.log.read_text(), process)
        _sleep(chance.uniform(0, 0.3), process)
    return False


def _at_a_step(start: _Start, process: Process, chance: random.Random) -> bool:
    """Some steps on."""
    steps = chance.randint(1, 3 * _EVERY)
    wait_until(lambda: start.steps() >= steps, process)
    _sleep(chance.uniform(0, 0.05), process)
    return False


def _at_a_save(start: _Start, process: Process, chance: random.Random) -> bool:
    """While a checkpoint is written: all ranks are held where they are, to be sure of it."""
    steps = chance.randint(1, 3 * _EVERY)
    wait_until(lambda: start.steps() >= steps, process)
    family = workers(process)
    while wait_until(lambda: _is_saving(start.run), process):
        _signal(family, signal.SIGSTOP)
        time.sleep(0.01)
        if _is_saving(start.run):
            return True
        _signal(family, signal.SIGCONT)
    return False


def _signal(family: list[int], number: int) -> None:
    for one in family:
        with suppress(ProcessLookupError):
            os.kill(one, number)


def _newest(run: Path) -> int:
    names = [name for name in checkpoints(run) if not name.startswith(".")]
    return max((int(name.removeprefix("step-")) for name in names), default=0)


def _is_saving(run: Path) -> bool:
    return any(name.startswith(".step-") and "sealing" in name for name in checkpoints(run))


def _sleep(seconds: float, process: Process) -> None:
    end = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() > end, process)


def _wait_for_the_end_of(family: list[int]) -> None:
    """No rank outlives a kill: neither the others, nor those of a launcher that was killed."""
    while any(_runs(number) for number in family):
        time.sleep(0.01)


def _runs(number: int) -> bool:
    try:
        state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"
