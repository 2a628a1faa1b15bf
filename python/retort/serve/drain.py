"""Ending without losing a request: what has begun is finished, what comes now is turned away."""

from collections.abc import Iterator
from contextlib import contextmanager


class Drain:
    """Whether the server is ending, how many requests it owes an answer, and how many it failed.

    Used in the event loop's thread alone.
    """

    def __init__(self) -> None:
        self.begun = False
        self.in_flight = 0
        self.cut_off = 0

    @contextmanager
    def request(self) -> Iterator[None]:
        """Hold the server up while a request is answered."""
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1
