"""Progress on standard error: a bar on a terminal, a line now and then elsewhere."""

import sys
from time import monotonic

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

_SECONDS_BETWEEN_LINES = 5.0


class ProgressLine:
    """How far something is: what is said of it, and how long the rest takes at the speed so far."""

    def __init__(self, total: float, place: str, done: int = 0) -> None:
        """
        Args:
            total: the end.
            place: where it begins, as one reads it.
            done: where this process begins; the time left is judged by what it has done itself.
        """
        self._total, self._done = total, done
        self._start = self._last = monotonic()
        self._bar: Progress | None = None
        console = Console(stderr=True)
        if console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.fields[place]}", markup=False),
                BarColumn(),
                TextColumn("{task.fields[facts]}  left", markup=False),
                TimeRemainingColumn(compact=True, elapsed_when_finished=False),
                console=console,
            )
            self._task = self._bar.add_task("", total=total, completed=done, place=place, facts="")
            self._bar.start()

    def seconds(self) -> float:
        """Since this process began."""
        return max(monotonic() - self._start, 1e-9)

    def show(self, at: float, place: str, facts: str, *, at_once: bool = False) -> None:
        """Tell how far it is.

        Args:
            place: `at` as one reads it.
            facts: what else is told, between that and the time left.
            at_once: also if the last line was a moment ago.
        """
        if self._bar is not None:
            self._bar.update(self._task, completed=at, place=place, facts=facts)
            return
        now = monotonic()
        if at_once or now - self._last >= _SECONDS_BETWEEN_LINES:
            self._last = now
            left = (self._total - at) * (now - self._start) / max(at - self._done, 1e-9)
            self.say(f"{place}  {facts}  {left:.0f} s left")

    def say(self, line: str) -> None:
        """A line of its own."""
        if self._bar is not None:
            self._bar.console.print(line, highlight=False, markup=False)
        else:
            print(line, file=sys.stderr, flush=True)

    def close(self) -> None:
        """No more is told."""
        if self._bar is not None:
            self._bar.stop()
