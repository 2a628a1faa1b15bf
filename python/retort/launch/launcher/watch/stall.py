"""Pods that live while nothing moves: when a group is made anew."""

from dataclasses import dataclass

_MOST = 3
"""Restarts at one step: what stands still there each time, stands still for another reason."""


@dataclass(frozen=True)
class Mark:
    """How far a run is, as far as it is seen: another mark means that it moves.

    Attributes:
        step: the last that was made, 0 before the first.
        pods: which there are; new ones have their time to start.
        lines: of logs, before the first step and after the last, when nothing else tells.
    """

    step: int
    pods: frozenset[str]
    lines: int


class Stall:
    """Tells when a group stands still for too long."""

    def __init__(self, seconds: float | None) -> None:
        """
        Args:
            seconds: for how long; None for ever.
        """
        self._seconds = seconds
        self._mark: Mark | None = None
        self._since = 0.0
        self._restarts: dict[int, int] = {}

    def seconds(self, now: float) -> float:
        """How long it stands still."""
        return now - self._since

    def is_due(self, mark: Mark, now: float, live: bool) -> bool:
        """Whether the group is to be made anew now.

        Args:
            now: seconds of a clock that never goes back.
            live: whether all its pods run.
        """
        if mark != self._mark or not live:
            self._mark, self._since = mark, now
            return False
        if self._seconds is None or now - self._since < self._seconds:
            return False
        self._since = now
        self._restarts[mark.step] = self._restarts.get(mark.step, 0) + 1
        return self._restarts[mark.step] <= _MOST
