"""The best checkpoint is verified when it is needed, and made again when it cannot be had."""

import io
import logging
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from pathlib import Path

import pytest

from retort.core.seal import verify
from retort.core.signals import Terminated
from retort.train.checkpoints.progress_record import ProgressRecord
from retort.train.checkpoints.resume import checkpoint_path
from retort.train.main import main
from tests.processes.forks import TRAINING, fork_server_for
from tests.tiny.runs import (
    as_if_killed_at_the_end,
    checkpoints,
    sealed,
    tiny_recipe,
    train,
    typed,
)

server = fork_server_for(*TRAINING)

SECTIONS: dict[str, dict[str, object]] = {
    "train": {"steps": 60, "seed": 7},
    "optimizer": {"lr": 1e-2},
    "schedule": {"warmup": 0.0, "decay": "none"},
    "evaluate": {"every": 4, "patience": 3, "metric": "loss", "select": "best"},
    "checkpoints": {"every": 5, "keep_last": 99},
    "logging": {"tensorboard": False},
}


def flip(checkpoint: Path, name: str = "model.safetensors") -> None:
    content = bytearray((checkpoint / name).read_bytes())
    content[-1] ^= 1
    (checkpoint / name).write_bytes(content)


def flip_a_moment(checkpoint: Path) -> None:
    flip(checkpoint, "optimizer.safetensors")


def break_the_header(checkpoint: Path) -> None:
    with (checkpoint / "model.safetensors").open("r+b") as file:
        file.write(b"\xff" * 8)


def put_a_pipe_there(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").unlink()
    os.mkfifo(checkpoint / "model.safetensors")


def take_another_in_its_place(checkpoint: Path) -> None:
    shutil.rmtree(checkpoint)
    shutil.copytree(checkpoint.with_name("step-00000005"), checkpoint)


DAMAGE = [
    flip,
    flip_a_moment,
    break_the_header,
    put_a_pipe_there,
    take_another_in_its_place,
    shutil.rmtree,
]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_recipe(tmp_path_factory.mktemp("inputs"), SECTIONS)


@dataclass(frozen=True)
class Undisturbed:
    """The recipe, run without a fault.

    Attributes:
        best: the step of its best evaluation, whose checkpoint has others before and after it.
        before: the step of the checkpoint before that one.
    """

    out: Path
    best: int
    before: int


@pytest.fixture(scope="module")
def undisturbed(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    assert main(typed(recipe, out)) == 0
    steps = [int(name.removeprefix("step-")) for name in checkpoints(out)]
    record = checkpoint_path(out, steps[-1]) / "progress.json"
    evaluations = ProgressRecord.from_bytes(record.read_bytes()).evaluations
    best = min(evaluations, key=lambda one: one.figures["loss"]).step
    assert 5 < best < steps[-1]
    return Undisturbed(out, best, max(step for step in steps if step < best))


@pytest.fixture
def interrupted(undisturbed: Undisturbed, tmp_path: Path) -> Path:
    return as_if_killed_at_the_end(undisturbed.out, tmp_path / "run")


def check_same(out: Path, undisturbed: Undisturbed) -> None:
    assert verify(out / "checkpoint").seal == verify(undisturbed.out / "checkpoint").seal
    for name in ("metrics.jsonl", "logits.safetensors", "evaluation.json", "report.html"):
        assert (out / name).read_bytes() == (undisturbed.out / name).read_bytes(), name
    for name in checkpoints(out):
        if "damaged" not in name:
            one, other = (verify(run / "checkpoints" / name) for run in (out, undisturbed.out))
            assert one.seal == other.seal, name


@contextmanager
def when_told(text: str, act: Callable[[], None]) -> Iterator[None]:
    """Have something happen to a run in the moment in which it says something, once."""
    heard: list[str] = []

    def hear(said: str) -> None:
        if text in said and not heard:
            heard.append(said)
            act()

    class Log(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            hear(record.getMessage())

    class Errors(io.StringIO):
        def write(self, said: str) -> int:
            hear(said)
            return len(said)

    log, logger = Log(), logging.getLogger("retort")
    logger.addHandler(log)
    try:
        with redirect_stderr(Errors()):
            yield
    finally:
        logger.removeHandler(log)
    assert heard


def again(undisturbed: Undisturbed, first: int) -> str:
    best = undisturbed.best
    return f"step {best} is the best so far, so steps {first} to {best} are computed again"


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_best_checkpoint_that_cannot_be_had_is_made_again_at_a_resume(
    recipe: Path,
    undisturbed: Undisturbed,
    interrupted: Path,
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[Path], None],
) -> None:
    path = checkpoint_path(interrupted, undisturbed.best)
    damage(path)
    assert main(typed(recipe, interrupted)) == 0
    lines = [one for one in caplog.messages if "computed again" in one]
    assert len(lines) == 1
    assert lines[0].startswith((f"{path}/", f"{path}: "))
    assert lines[0].endswith(again(undisturbed, undisturbed.before + 1))
    check_same(interrupted, undisturbed)
    assert path.is_dir()


def test_without_a_checkpoint_before_it_it_is_made_again_from_the_beginning(
    recipe: Path, undisturbed: Undisturbed, interrupted: Path, caplog: pytest.LogCaptureFixture
) -> None:
    early = [one for one in checkpoints(interrupted) if one <= f"step-{undisturbed.best:08}"]
    for name in early:
        flip(interrupted / "checkpoints" / name)
    assert main(typed(recipe, interrupted)) == 0
    assert again(undisturbed, 1) in caplog.text
    assert set(early) <= set(checkpoints(interrupted))
    check_same(interrupted, undisturbed)


@pytest.mark.parametrize("keep_last", [99, 1])
def test_one_that_is_damaged_during_the_run_is_made_again_at_its_end(
    recipe: Path,
    undisturbed: Undisturbed,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    keep_last: int,
) -> None:
    out = tmp_path / "run"
    damaged = checkpoint_path(out, undisturbed.best)
    # Another was begun by then, which waits until the one before it is sealed.
    moment = f"step {undisturbed.best + 8}  evaluation"
    with when_told(moment, lambda: flip(damaged)):
        assert main(typed(recipe, out, settings=[f"checkpoints.keep_last={keep_last}"])) == 0
    assert again(undisturbed, undisturbed.before + 1 if keep_last > 1 else 1) in caplog.text
    assert verify(out / "checkpoint").seal == verify(undisturbed.out / "checkpoint").seal
    assert (out / "metrics.jsonl").read_bytes() == (undisturbed.out / "metrics.jsonl").read_bytes()


def test_a_run_that_is_stopped_while_it_is_made_again_goes_on_with_that(
    recipe: Path, undisturbed: Undisturbed, interrupted: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in checkpoints(interrupted):
        if name <= f"step-{undisturbed.best:08}":
            shutil.rmtree(interrupted / "checkpoints" / name)

    def stop() -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    with when_told("computed again", stop), pytest.raises(Terminated):
        main(typed(recipe, interrupted))
    assert "step-00000001" in checkpoints(interrupted)
    assert main(typed(recipe, interrupted)) == 0
    assert again(undisturbed, 2) in caplog.text
    shutil.rmtree(checkpoint_path(interrupted, 1))
    check_same(interrupted, undisturbed)


def test_three_processes_make_it_again_too(
    recipe: Path, undisturbed: Undisturbed, interrupted: Path
) -> None:
    flip(checkpoint_path(interrupted, undisturbed.best))
    done = train(typed(recipe, interrupted, "--nproc", "3"))
    assert sealed(done) == verify(undisturbed.out / "checkpoint").seal
    assert done.stderr.count(again(undisturbed, undisturbed.before + 1)) == 1
    check_same(interrupted, undisturbed)
