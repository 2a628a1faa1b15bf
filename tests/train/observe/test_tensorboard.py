"""TensorBoard reads back what was told, also of a run that was killed and resumed."""

import resource
import signal
from dataclasses import replace
from pathlib import Path

import pytest
from tensorboard.backend.event_processing import event_accumulator  # type: ignore[import-untyped]

from retort.core.errors import StorageError
from retort.train.observe.step import Step
from retort.train.observe.tensorboard import TensorBoard
from retort.train.observe.timings import OTHER, Timing
from retort.train.timing.phases import PHASES

# TensorBoard's own thread meets the full disk first, and pytest hears of it at some later time.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")

TIMING = Timing(
    step=2,
    steps=2,
    seconds=2.0,
    samples_per_second=40.0,
    tokens_per_second=400.0,
    mfu=0.5,
    memory_bytes=100,
    device_memory_bytes=0,
    shares={**dict.fromkeys(PHASES, 0.0), "compute": 0.75, OTHER: 0.25},
)


def step(number: int, loss: float = 1.0) -> Step:
    return Step(number, loss, (loss,), 0.5**number, 2.0, samples=8, tokens=80)


def read(directory: Path) -> dict[str, dict[int, float]]:
    accumulator = event_accumulator.EventAccumulator(str(directory), size_guidance={"scalars": 0})
    accumulator.Reload()
    return {
        tag: {event.step: event.value for event in accumulator.Scalars(tag)}
        for tag in accumulator.Tags()["scalars"]
    }


def test_curves_of_steps_timings_and_evaluations(tmp_path: Path) -> None:
    board = TensorBoard(tmp_path, 0)
    board.step(step(1))
    board.step(step(2, loss=0.5))
    board.timing(TIMING)
    board.evaluation(2, {"accuracy": 0.75})
    board.close()
    curves = read(tmp_path)
    assert curves["train/loss"] == {1: 1.0, 2: 0.5}
    assert curves["train/lr"] == {1: 0.5, 2: 0.25}
    assert curves["train/gradient_norm"] == {1: 2.0, 2: 2.0}
    assert curves["throughput/tokens_per_second"] == {2: 400.0}
    assert curves["throughput/mfu"] == {2: 0.5}
    assert curves["evaluation/accuracy"] == {2: 0.75}
    shares = {tag: values for tag, values in curves.items() if tag.startswith("time/")}
    assert shares.keys() == {f"time/{name}" for name in (*PHASES, OTHER)}
    assert shares["time/compute"] == {2: 0.75}


@pytest.mark.parametrize("done", [0, 3])
def test_a_resumed_run_forgets_what_is_behind_its_checkpoint(tmp_path: Path, done: int) -> None:
    killed = TensorBoard(tmp_path, 0)
    for number in range(1, 7):
        killed.step(step(number, loss=9.0))
    killed.timing(replace(TIMING, step=6))
    killed.sync()
    with next(tmp_path.iterdir()).open("ab") as file:
        file.write(b"\x18\0\0\0")  # an event half written
    resumed = TensorBoard(tmp_path, done)
    resumed.step(step(done + 1, loss=1.0))
    resumed.close()
    killed.close()
    curves = read(tmp_path)
    assert curves["train/loss"] == {**dict.fromkeys(range(1, done + 1), 9.0), done + 1: 1.0}
    assert curves["throughput/mfu"] == {}


def test_a_full_disk_is_one_clear_error(tmp_path: Path) -> None:
    board = TensorBoard(tmp_path, 0)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limit[1]))
    try:
        with pytest.raises(StorageError, match="cannot be written: File too large; make room"):
            for number in range(1, 1000):
                board.step(step(number))
                board.sync()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, ignored)


def test_what_was_synced_is_there_although_nothing_was_closed(tmp_path: Path) -> None:
    board = TensorBoard(tmp_path, 0)
    board.step(step(1))
    board.sync()
    assert read(tmp_path)["train/loss"] == {1: 1.0}
    board.close()
