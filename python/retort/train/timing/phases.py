"""Where the time of a run goes, by phase."""

from contextlib import AbstractContextManager
from time import perf_counter
from typing import Final, Literal, get_args

Phase = Literal["data", "compute", "communication", "checkpoint", "evaluation"]
PHASES: Final[tuple[Phase, ...]] = get_args(Phase)


class PhaseClock:
    """Adds up the seconds of each phase in the thread that runs the loop.

    Phases may be inside each other; the time then counts for the inner one only, so that phases
    never add up to more than the time that passed. The clock is the host's: what a GPU still has
    to do counts for the phase that waits for it.
    """

    def __init__(self) -> None:
        self._now = _Now()
        self._sections = {name: _Section(self._now) for name in PHASES}

    def phase(self, name: Phase) -> AbstractContextManager[None]:
        """Counts the time inside the `with` block, also of one that raises."""
        return self._sections[name]

    def take(self) -> dict[Phase, float]:
        """Seconds of each phase since the last take. Phases that are open go on."""
        time = perf_counter()
        if self._now.open:
            self._now.open[-1].seconds += time - self._now.since
            self._now.since = time
        taken = {name: section.seconds for name, section in self._sections.items()}
        for section in self._sections.values():
            section.seconds = 0.0
        return taken


class _Now:
    """The open phases, the innermost last, and since when the last one counts."""

    __slots__ = ("open", "since")

    def __init__(self) -> None:
        self.open: list[_Section] = []
        self.since = 0.0


class _Section:
    """A phase. There is one of each, made once, because making one takes longer than its use."""

    __slots__ = ("_now", "seconds")

    def __init__(self, now: _Now) -> None:
        self._now = now
        self.seconds = 0.0

    def __enter__(self) -> None:
        now, time = self._now, perf_counter()
        if now.open:
            now.open[-1].seconds += time - now.since
        now.open.append(self)
        now.since = time

    def __exit__(self, *_: object) -> None:
        now, time = self._now, perf_counter()
        now.open.pop()
        self.seconds += time - now.since
        now.since = time
