"""Progress of a preparation on standard error: a bar on a terminal, a line now and then elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from retort.data.store_writer import Progress as Report

_SECONDS_BETWEEN_LINES = 5.0


@contextmanager
def show_progress(total: int) -> Iterator[Report]:
    """Yield what a writer calls with its documents and tokens, and show both and the time left.

    Args:
        total: number of documents to come.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(total)
        return
    columns = (
        TextColumn("documents"),
        MofNCompleteColumn(),
        BarColumn(),
        TextColumn(
            "{task.fields[rate]:,.0f} documents/s  {task.fields[tokens]:,.0f} tokens/s  left"
        ),
        TimeRemainingColumn(compact=True),
    )
    start = time.monotonic()
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("prepare", total=total, rate=0.0, tokens=0.0)

        def report(documents: int, tokens: int) -> None:
            seconds = max(time.monotonic() - start, 1e-9)
            progress.update(
                task, completed=documents, rate=documents / seconds, tokens=tokens / seconds
            )

        yield report


class _Lines:
    def __init__(self, total: int) -> None:
        self._total = total
        self._start = self._last = time.monotonic()

    def __call__(self, documents: int, tokens: int) -> None:
        now = time.monotonic()
        if documents != self._total and now - self._last < _SECONDS_BETWEEN_LINES:
            return
        self._last = now
        seconds = max(now - self._start, 1e-9)
        left = (self._total - documents) * seconds / max(documents, 1)
        print(
            f"{documents:,}/{self._total:,} documents  {documents / seconds:,.0f} documents/s  "
            f"{tokens / seconds:,.0f} tokens/s  {left:.0f} s left",
            file=sys.stderr,
            flush=True,
        )
