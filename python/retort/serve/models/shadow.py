"""A model in the shadow of another: it sees a share of the texts, its answers are compared, and given to nobody."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace

from retort.serve.engine.engine import (
    NO_TERMS,
    Answer,
    Done,
    EngineError,
    InferenceEngine,
    Load,
    Priority,
    Terms,
)
from retort.serve.protocols.service import Compared

_MOST_PENDING = 64
"""Texts that the shadow has not answered yet; it does not see more."""


class Comparison:
    """What a shadow is asked, and how its answers differ.

    Attributes:
        compared: so far.
    """

    def __init__(self, share: float, draw: Callable[[], float] = random.random) -> None:
        """
        Args:
            share: of the texts that it is asked.
            draw: a number from 0 to 1, without 1.
        """
        self._share, self._draw = share, draw
        self._pending: set[asyncio.Task[None]] = set()
        self.compared = Compared()

    def see(self, shadow: InferenceEngine, text: str, answer: Answer, terms: Terms) -> None:
        """Have the shadow asked, perhaps, behind what others ask, and wait for nothing."""
        if self._draw() >= self._share or len(self._pending) >= _MOST_PENDING:
            return
        behind = replace(terms, priority=Priority.LOW)
        task = asyncio.create_task(self._compare(shadow, text, answer, behind))
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)

    async def finish(self) -> None:
        """Wait until the shadow has answered all that it was asked."""
        await asyncio.gather(*self._pending)

    async def _compare(
        self, shadow: InferenceEngine, text: str, answer: Answer, terms: Terms
    ) -> None:
        try:
            other = await shadow.predict(text, terms)
        except EngineError:
            self.compared.failures += 1
            return
        self.compared.texts += 1
        self.compared.labels += answer.label != other.label
        one, two = answer.by_label, other.by_label
        shift = max(abs(one.get(label, 0.0) - two.get(label, 0.0)) for label in one | two)
        self.compared.shift = max(self.compared.shift, shift)


class ShadowedEngine:
    """An engine behind which another is asked, too."""

    def __init__(
        self, engine: InferenceEngine, shadow: InferenceEngine, comparison: Comparison
    ) -> None:
        self._engine, self._shadow, self._comparison = engine, shadow, comparison

    @property
    def done(self) -> Done:
        """Of the engine."""
        return self._engine.done

    @property
    def load(self) -> Load:
        """Of the engine."""
        return self._engine.load

    def is_alive(self) -> bool:
        """Of the engine."""
        return self._engine.is_alive()

    async def predict(self, text: str, terms: Terms = NO_TERMS) -> Answer:
        """As the engine; the shadow is asked afterwards."""
        answer = await self._engine.predict(text, terms)
        self._comparison.see(self._shadow, text, answer, terms)
        return answer
