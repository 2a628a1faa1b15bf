"""A request to stop that is heard between two steps."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from retort.core.signals import SIGNALS, Terminated


class StopRequest:
    """Whether SIGTERM, SIGINT or SIGHUP has come.

    Ranks hear it at different moments: before one acts on it, all agree (`World.any`).
    """

    def __init__(self) -> None:
        self._signal: signal.Signals | None = None

    @property
    def requested(self) -> bool:
        """Whether to finish the step, save and leave."""
        return self._signal is not None

    def leave(self) -> NoReturn:
        """End as the signal asks, when all is saved; without one of our own, as SIGTERM asks.

        Raises:
            KeyboardInterrupt: after SIGINT.
            Terminated: after SIGTERM or SIGHUP, or when another rank heard the signal.
        """
        if self._signal == signal.SIGINT:
            raise KeyboardInterrupt
        raise Terminated(self._signal or signal.SIGTERM)

    def _hear(self, number: int, _frame: FrameType | None) -> None:
        again = self._signal is not None
        self._signal = signal.Signals(number)
        if again:
            signal.signal(number, signal.SIG_IGN)
            self.leave()


@contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Turn the first of the signals into a flag; a second one ends the block at once.

    Only the main thread may enter. The handlers that were there before come back at the end.
    """
    request = StopRequest()
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:
        if before[number] != signal.SIG_IGN:
            signal.signal(number, request._hear)
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
