"""What is to be looked at, and when."""

import heapq
from collections.abc import Callable
from typing import Generic, TypeVar

Key = TypeVar("Key")
FIRST_S = 0.005
LONGEST_S = 10.0


class WorkQueue(Generic[Key]):
    """Keys, each at most once, in the order in which they are due. One thread uses it.

    Args:
        clock: seconds, which never go back.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._due: dict[Key, tuple[float, int]] = {}
        self._order: list[tuple[float, int, Key]] = []
        self._failures: dict[Key, int] = {}
        self._number = 0

    def add(self, key: Key, after_s: float = 0.0) -> None:
        """Have a key come, or come earlier."""
        at = self._clock() + max(after_s, 0.0)
        if key in self._due and self._due[key][0] <= at:
            return
        self._number += 1
        self._due[key] = (at, self._number)
        heapq.heappush(self._order, (at, self._number, key))

    def retry(self, key: Key) -> int:
        """Have a key that has failed come again: after 5 ms, and twice as long each time, to 10 s.

        Returns:
            How often it has failed in a row.
        """
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        self.add(key, min(FIRST_S * 2.0 ** min(failures, 20), LONGEST_S))
        return failures + 1

    def forget(self, key: Key) -> None:
        """That a key has failed before."""
        self._failures.pop(key, None)

    def take(self) -> Key | None:
        """The next key that is due; None if none is."""
        self._drop_old()
        if not self._order or self._order[0][0] > self._clock():
            return None
        _, _, key = heapq.heappop(self._order)
        del self._due[key]
        return key

    def wait_s(self) -> float | None:
        """Seconds until the next one is due; None if there is none."""
        self._drop_old()
        return max(self._order[0][0] - self._clock(), 0.0) if self._order else None

    def _drop_old(self) -> None:
        """Forget what has been put earlier since."""
        while self._order:
            at, number, key = self._order[0]
            if self._due.get(key) == (at, number):
                return
            heapq.heappop(self._order)
