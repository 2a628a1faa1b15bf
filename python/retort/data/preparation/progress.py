"""Progress of a preparation on standard error: a bar on a terminal, a line now and then elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from retort.data.preparation.writer import Progress as Report

_SECONDS_BETWEEN_LINES = 5.0


@contextmanager
def show_progress() -> Iterator[Report]:
    """Yield what a writer calls with the share that is done and documents and tokens so far."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines()
        return
    columns = (
        TextColumn("documents"),
        TaskProgressColumn(),
        BarColumn(),
        TextColumn(
            "{task.fields[rate]:,.0f} documents/s  {task.fields[tokens]:,.0f} tokens/s  left"
        ),
        TimeRemainingColumn(compact=True),
    )
    start = time.monotonic()
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("prepare", total=1.0, rate=0.0, tokens=0.0)

        def report(share: float, documents: int, tokens: int) -> None:
            seconds = max(time.monotonic() - start, 1e-9)
            progress.update(
                task, completed=share, rate=documents / seconds, tokens=tokens / seconds
            )

        yield report


class _Lines:
    def __init__(self) -> None:
        self._start = self._last = time.monotonic()

    def __call__(self, share: float, documents: int, tokens: int) -> None:
        now = time.monotonic()
        if now - self._last < _SECONDS_BETWEEN_LINES:
            return
        self._last = now
        seconds = max(now - self._start, 1e-9)
        left = (1 - share) * seconds / max(share, 1e-9)
        print(
            f"{share:.0%}  {documents:,} documents  {documents / seconds:,.0f} documents/s  "
            f"{tokens / seconds:,.0f} tokens/s  {left:.0f} s left",
            file=sys.stderr,
            flush=True,
        )
