"""The one queue of a server: texts that wait, counted in their tokens.

Priorities come first. Within one, clients share what is computed evenly, however much each has sent: start-time fair
queueing (Goyal, Vin and Cheng, "Start-time fair queueing", 1996), with a text's tokens as its length. A client's own
texts keep their order.
"""

import asyncio
import heapq
import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from retort.serve.engine.engine import Overloaded, Priority, Terms

_AGAIN = -1.0
"""Before all starts that there are."""


@dataclass(eq=False)
class Waiting:
    """A text that is to be computed.

    Attributes:
        ids: its token numbers, int64 [tokens], special ones included.
        answer: gets the probabilities of its labels, float32 [labels].
        lost: how many processes have died while they computed it.
        waits: whether it is in the queue.
    """

    ids: NDArray[np.int64]
    terms: Terms
    answer: "asyncio.Future[NDArray[np.float32]]"
    lost: int = 0
    waits: bool = False

    @property
    def tokens(self) -> int:
        """How many it has."""
        return len(self.ids)


@dataclass
class _Class:
    """One priority.

    Attributes:
        waiting: heap of starts in virtual time.
        now: start of what was taken last.
        ends: where the next text of each client starts, if that is not yet past.
    """

    waiting: list[tuple[float, int, Waiting]] = field(default_factory=list)
    now: float = 0.0
    ends: dict[str, float] = field(default_factory=dict)

    def put(self, item: Waiting, number: int, start: float | None = None) -> None:
        if start is None:
            start = max(self.now, self.ends.get(item.terms.client, 0.0))
            self.ends[item.terms.client] = start + item.tokens
        heapq.heappush(self.waiting, (start, number, item))

    def pop(self) -> Waiting:
        start, _, item = heapq.heappop(self.waiting)
        self.now = max(self.now, start)
        if len(self.ends) > 2 * len(self.waiting) + 16:
            self.ends = {who: end for who, end in self.ends.items() if end > self.now}
        return item


class TokenQueue:
    """What waits. Used in one thread alone."""

    def __init__(self, capacity: int) -> None:
        """
        Args:
            capacity: tokens that may wait. One text may always wait alone, however long it is.
        """
        self._capacity = capacity
        self._classes = {priority: _Class() for priority in Priority}
        self._numbers = itertools.count()
        self.tokens = 0
        """That wait."""
        self.texts = 0

    def put(self, item: Waiting) -> None:
        """
        Raises:
            Overloaded: there is no room for it.
        """
        if self.texts and self.tokens + item.tokens > self._capacity:
            raise Overloaded(
                f"{self.texts} texts of {self.tokens} tokens are waiting already"
                if self.texts > 1
                else f"a text of {self.tokens} tokens is waiting already"
            )
        self._add(item)

    def put_back(self, items: Iterable[Waiting]) -> None:
        """Have texts that were taken wait again, before all others of their priority."""
        for item in items:
            self._add(item, _AGAIN)

    def discard(self, item: Waiting) -> None:
        """Let it wait no more, if it does."""
        if item.waits:
            self._leave(item)

    def take(self, budget: int) -> list[Waiting]:
        """What is to be computed next, together: the first that waits, and those after it that fit.

        A text that was being computed when a process died comes alone, so that no other dies of it.

        Args:
            budget: tokens.
        """
        batch: list[Waiting] = []
        room: float = budget
        while (first := self._first()) is not None:
            item = first.waiting[0][-1]
            if batch and (item.tokens > room or item.lost or batch[0].lost):
                break
            first.pop()
            self._leave(item)
            batch.append(item)
            room -= item.tokens
        return batch

    def clear(self) -> list[Waiting]:
        """All that waits, which then waits no more."""
        left = [
            item for group in self._classes.values() for *_, item in group.waiting if item.waits
        ]
        for item in left:
            self._leave(item)
        return left

    def _first(self) -> _Class | None:
        """The class whose turn it is; at its front is one that still waits."""
        for group in self._classes.values():
            while group.waiting and not group.waiting[0][-1].waits:
                group.pop()
            if group.waiting:
                return group
        return None

    def _add(self, item: Waiting, start: float | None = None) -> None:
        self._classes[item.terms.priority].put(item, next(self._numbers), start)
        item.waits = True
        self.tokens += item.tokens
        self.texts += 1

    def _leave(self, item: Waiting) -> None:
        item.waits = False
        self.tokens -= item.tokens
        self.texts -= 1
