"""Progress on standard error: a bar on a terminal, a line now and then elsewhere."""

import sys
from collections.abc import Mapping
from time import monotonic

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from retort.train.observe.observer import Observer
from retort.train.observe.step import Step
from retort.train.observe.timings import Timing

_SECONDS_BETWEEN_LINES = 5.0


def progress(total: int, done: int) -> Observer:
    """What shows steps as they come, throughput, time left, and evaluations.

    Args:
        total: the number of the last step.
        done: the step that the run goes on after; the time left is judged by the steps since.
    """
    console = Console(stderr=True)
    return _Bar(total, done, console) if console.is_terminal else _Lines(total, done)


class _Pace:
    """Speed since this process began, and how long the rest takes at it."""

    def __init__(self, total: int, done: int) -> None:
        self._total = total
        self._done = done
        self._samples = 0
        self._start = monotonic()

    def of(self, step: Step) -> tuple[float, float]:
        """Samples a second, and seconds left."""
        self._samples += step.samples
        seconds = max(monotonic() - self._start, 1e-9)
        left = (self._total - step.number) * seconds / (step.number - self._done)
        return self._samples / seconds, left


class _Bar(Observer):
    def __init__(self, total: int, done: int, console: Console) -> None:
        columns = (
            TextColumn("step"),
            MofNCompleteColumn(),
            BarColumn(),
            TextColumn("loss {task.fields[loss]:.4f}  lr {task.fields[lr]:.2e}"),
            TextColumn("{task.fields[rate]:.1f} samples/s{task.fields[timing]}  left"),
            TimeRemainingColumn(compact=True, elapsed_when_finished=False),
        )
        self._pace = _Pace(total, done)
        self._progress = Progress(*columns, console=console)
        self._task = self._progress.add_task(
            "train",
            total=total,
            completed=done,
            loss=float("nan"),
            lr=0.0,
            rate=0.0,
            timing="",
        )
        self._progress.start()

    def step(self, step: Step) -> None:
        rate, _ = self._pace.of(step)
        self._progress.update(
            self._task, completed=step.number, loss=step.loss, lr=step.lr, rate=rate
        )

    def timing(self, timing: Timing) -> None:
        self._progress.update(self._task, timing=_throughput(timing))

    def evaluation(self, number: int, metrics: Mapping[str, float]) -> None:
        self._progress.console.print(_evaluation(number, metrics), highlight=False)

    def close(self) -> None:
        self._progress.stop()


class _Lines(Observer):
    def __init__(self, total: int, done: int) -> None:
        self._total = total
        self._marks = (done + 1, total)
        self._pace = _Pace(total, done)
        self._last = monotonic()
        self._timing = ""

    def step(self, step: Step) -> None:
        rate, left = self._pace.of(step)
        now = monotonic()
        if step.number in self._marks or now - self._last >= _SECONDS_BETWEEN_LINES:
            self._last = now
            self._show(
                f"step {step.number}/{self._total}  loss {step.loss:.4f}  lr {step.lr:.2e}  "
                f"{rate:.1f} samples/s{self._timing}  {left:.0f} s left"
            )

    def timing(self, timing: Timing) -> None:
        self._timing = _throughput(timing)

    def evaluation(self, number: int, metrics: Mapping[str, float]) -> None:
        self._show(_evaluation(number, metrics))

    @staticmethod
    def _show(line: str) -> None:
        print(line, file=sys.stderr, flush=True)


def _throughput(timing: Timing) -> str:
    return f"  {timing.tokens_per_second:,.0f} tokens/s  MFU {timing.mfu:.1%}"


def _evaluation(number: int, metrics: Mapping[str, float]) -> str:
    values = "  ".join(f"{name} {value:.4f}" for name, value in metrics.items())
    return f"step {number}  evaluation  {values}"
