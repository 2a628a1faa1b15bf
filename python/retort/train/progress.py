"""Progress on standard error: a bar on a terminal, a line now and then elsewhere."""

import sys
import time
from collections.abc import Iterable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from retort.train.loop import Step

_SECONDS_BETWEEN_LINES = 5.0


def show_progress(steps: Iterable[Step], total: int, batch: int) -> Iterator[Step]:
    """Pass steps on as they come, showing loss, learning rate, samples a second and time left.

    Args:
        batch: documents in each step.
    """
    console = Console(stderr=True)
    return (
        _bar(steps, total, batch, console) if console.is_terminal else _lines(steps, total, batch)
    )


def _bar(steps: Iterable[Step], total: int, batch: int, console: Console) -> Iterator[Step]:
    columns = (
        TextColumn("step"),
        MofNCompleteColumn(),
        BarColumn(),
        TextColumn("loss {task.fields[loss]:.4f}  lr {task.fields[lr]:.2e}"),
        TextColumn("{task.fields[rate]:.1f} samples/s  left"),
        TimeRemainingColumn(compact=True, elapsed_when_finished=False),
    )
    start = time.monotonic()
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("train", total=total, loss=float("nan"), lr=0.0, rate=0.0)
        for step in steps:
            rate = step.number * batch / (time.monotonic() - start)
            progress.update(task, completed=step.number, loss=step.loss, lr=step.lr, rate=rate)
            yield step


def _lines(steps: Iterable[Step], total: int, batch: int) -> Iterator[Step]:
    start = last = time.monotonic()
    for step in steps:
        now = time.monotonic()
        if step.number in (1, total) or now - last >= _SECONDS_BETWEEN_LINES:
            last = now
            rate = step.number / (now - start)
            print(
                f"step {step.number}/{total}  loss {step.loss:.4f}  lr {step.lr:.2e}  "
                f"{rate * batch:.1f} samples/s  {(total - step.number) / rate:.0f} s left",
                file=sys.stderr,
                flush=True,
            )
        yield step
