"""One model of a server: its processes, its engine, and how much memory they hold."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from retort.models.arithmetic_variables import refuse_arithmetic_variables
from retort.models.config import PrecisionName
from retort.models.description import ClassifierDescription, describe_classifier
from retort.serve.engine.batching import BatchingEngine, Settings
from retort.serve.engine.cache import AnswerCache
from retort.serve.engine.engine import Done
from retort.serve.engine.shared_answers import SharedAnswers, Store
from retort.serve.engine.start import Begun, Start
from retort.serve.engine.workers import ModelProcesses
from retort.serve.protocols.service import ServedModel


@dataclass(frozen=True)
class Version:
    """Which model, and in which precision.

    Attributes:
        seal: the one that it must have; any if None.
        precision: the checkpoint's own if None.
    """

    checkpoint: Path
    seal: str | None = None
    precision: PrecisionName | None = None


@dataclass(frozen=True)
class Loading:
    """How the models of a server are loaded.

    Attributes:
        settings: of their engines, where a model's arithmetic does not say otherwise.
        workers: processes of each.
        cache: answers of each that are kept.
        store: behind them, with what the log calls it.
    """

    settings: Settings
    workers: int
    cache: int = 0
    store: tuple[Store, str] | None = None


class LoadedModel:
    """A model whose processes are there.

    Attributes:
        model: what it is.
        engine: answers by it.
    """

    def __init__(
        self,
        model: ServedModel,
        engine: BatchingEngine,
        processes: ModelProcesses,
        held: AsyncExitStack,
    ) -> None:
        """
        Args:
            held: ends all that was begun for it.
        """
        self.model, self.engine = model, engine
        self._processes, self._held = processes, held
        self._users = 0
        self._retired = False
        self._closing: asyncio.Task[None] | None = None

    @property
    def is_used(self) -> bool:
        """Whether a request has it."""
        return self._users > 0

    @property
    def is_closed(self) -> bool:
        """Whether all that was begun for it has ended."""
        return self._closing is not None and self._closing.done()

    @contextmanager
    def used(self) -> Iterator[None]:
        """While this is open, it is not closed by `retire`."""
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            self._close_if_over()

    def retire(self) -> None:
        """End it as soon as nobody uses it."""
        self._retired = True
        self._close_if_over()

    async def close(self) -> None:
        """End it now; what is asked of it fails."""
        await self._begin_to_close()

    def memory(self) -> int:
        """Bytes that its processes hold; what several share counts by their shares."""
        return sum(_memory_of(process) for process in self._processes.numbers)

    def _close_if_over(self) -> None:
        if self._retired and not self._users:
            self._begin_to_close()

    def _begin_to_close(self) -> "asyncio.Task[None]":
        if self._closing is None:
            self._closing = asyncio.create_task(self._held.aclose())
        return self._closing


async def load(version: Version, loading: Loading, begun: Begun | None = None) -> LoadedModel:
    """Load a model, test it, and wait until it can answer.

    Args:
        begun: its process, if that has been started.
    Raises:
        RetortError: it cannot be served; the message says why.
    """
    if begun is None:
        start = Start(version.checkpoint, loading.workers, version.precision)
        begun = start.begin(version.seal)
    async with AsyncExitStack() as stack:
        stack.callback(begun.process.kill)
        described = await asyncio.to_thread(describe_classifier, version.checkpoint, version.seal)
        if described.arithmetic == "native":
            refuse_arithmetic_variables(os.environ)
        seal, precision = described.sealed.seal, version.precision or described.precision
        done, shared = Done(), None
        if loading.store is not None and loading.cache:
            store, name = loading.store
            shared = SharedAnswers(store, name, done)
            stack.push_async_callback(shared.close)
        labels = len(described.labels)
        cache = AnswerCache(f"{seal} {precision}", labels, loading.cache, done, shared)
        engine = _engine_of(described, loading.settings, cache)
        stack.callback(engine.close)
        processes = ModelProcesses(begun.start, begun.process, seal, engine.serve)
        await stack.enter_async_context(processes)
        held = stack.pop_all()
    model = ServedModel(seal, described.labels, precision)
    return LoadedModel(model, engine, processes, held)


def _engine_of(
    described: ClassifierDescription, settings: Settings, cache: AnswerCache
) -> BatchingEngine:
    if described.arithmetic != "portable":
        # There a text is computed alone anyway.
        settings = replace(settings, batch_tokens=1)
    thresholds = described.calibration.thresholds
    return BatchingEngine(described.tokenise, described.labels, settings, thresholds, cache)


def _memory_of(process: int) -> int:
    with suppress(OSError, ValueError):  # it has ended
        for line in Path(f"/proc/{process}/smaps_rollup").read_text(encoding="ascii").splitlines():
            name, _, rest = line.partition(":")
            if name == "Pss":
                return int(rest.split()[0]) * 1024
    return 0
