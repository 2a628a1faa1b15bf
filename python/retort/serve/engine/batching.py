"""The batching engine: texts wait in one queue, and whatever waits is computed together.

There is no window in which more is waited for, and no padding: a batch is what has come while the one before was
computed, up to a budget of tokens, so it is one text on an idle server and many on a busy one. Kernels give a text the
same bits in any company, so nobody can see from an answer which it was.
"""

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from retort.data.tokenizers.text_encoder import TextEncoder
from retort.models.description import UNKNOWN
from retort.serve.engine.cache import AnswerCache
from retort.serve.engine.engine import (
    NO_TERMS,
    Answer,
    Done,
    EngineStopped,
    Expired,
    Load,
    NothingToRead,
    Overloaded,
    PredictionFailed,
    Terms,
    TooLong,
    TooMany,
)
from retort.serve.engine.queue import TokenQueue, Waiting

_log = logging.getLogger(__name__)

_MOST_LOST = 2
"""Processes that may die while they compute a text, before it is taken to be the cause."""


class WorkerLost(Exception):
    """A worker died, or was ended because it had been at one batch for too long."""


class Worker(Protocol):
    """Computes one batch at a time."""

    async def listen(self) -> None:
        """Wait until it is gone. What it computes then raises `WorkerLost`."""

    async def compute(
        self, texts: Sequence[NDArray[np.int64]], threads: int, patience: float
    ) -> NDArray[np.float32]:
        """The probabilities of texts, [texts, labels]; NaN where the model has failed.

        Args:
            texts: token numbers of each.
            threads: to compute with, where that is not in the bits.
            patience: seconds; a worker that takes longer is stuck, and ended.
        Raises:
            WorkerLost: it is gone.
        """
        ...


@dataclass(frozen=True)
class Settings:
    """How an engine works.

    Attributes:
        readers: threads that find the tokens of texts.
        queue_tokens: how many may wait.
        queue_texts: that may be read and wait.
        client_texts: that one client may have here; any number if None.
        batch_tokens: computed together; 1 has every text computed alone.
        cut: whether a text that is too long is cut; otherwise it is refused.
        patience: seconds after which a worker is stuck that has not answered a batch.
    """

    readers: int = 2
    queue_tokens: int = 65536
    queue_texts: int = 1024
    client_texts: int | None = None
    batch_tokens: int = 384
    cut: bool = True
    patience: float = 60.0


class BatchingEngine:
    """An `InferenceEngine` of workers, which come and go (`serve`). Used in the event loop's thread alone."""

    def __init__(
        self,
        tokenise: TextEncoder,
        labels: Sequence[str],
        settings: Settings,
        thresholds: Sequence[float] = (),
        cache: AnswerCache | None = None,
    ) -> None:
        """
        Args:
            thresholds: as of `retort.models.description.Calibration`.
            cache: of its answers; none by default.
        """
        self._tokenise, self._labels, self._settings = tokenise, tuple(labels), settings
        self._thresholds = thresholds or [0.0] * len(labels)
        self._queue = TokenQueue(settings.queue_tokens)
        self._reading = 0
        self._readers = ThreadPoolExecutor(settings.readers, "retort-tokens")
        self._cache = cache or AnswerCache("", len(labels), 0, Done())
        self.done = self._cache.done
        self._clients: Counter[str] = Counter()
        self._workers: set[Worker] = set()
        self._idle: list[Worker] = []
        self._computing: set[asyncio.Task[None]] = set()
        self._woken = False
        self._open = True

    def close(self) -> None:
        """Fail what waits with `EngineStopped`, and what is asked from now on."""
        self._open = False
        for item in self._queue.clear():
            _fail(item, EngineStopped("the model was stopped"))
        self._readers.shutdown(wait=False, cancel_futures=True)

    def is_alive(self) -> bool:
        """Whether a process is there that computes."""
        return self._open and bool(self._workers)

    @property
    def load(self) -> Load:
        """As `InferenceEngine.load`."""
        workers = len(self._workers)
        return Load(
            reading=self._reading,
            texts=self._queue.texts,
            tokens=self._queue.tokens,
            workers=workers,
            computing=workers - len(self._idle),
        )

    async def predict(self, text: str, terms: Terms = NO_TERMS) -> Answer:
        """As `InferenceEngine.predict`."""
        with self._one_more_of(terms.client):
            return await self._predict(text, terms)

    @contextmanager
    def _one_more_of(self, client: str) -> Iterator[None]:
        most = self._settings.client_texts
        if most is not None and self._clients[client] >= most:
            raise TooMany(f"{most} texts of this client are here already")
        self._clients[client] += 1
        try:
            yield
        finally:
            self._clients[client] -= 1
            if not self._clients[client]:
                del self._clients[client]

    async def _predict(self, text: str, terms: Terms) -> Answer:
        if not self._open:
            raise EngineStopped("the model is not running")
        if self._queue.texts + self._reading >= self._settings.queue_texts:
            raise Overloaded(f"{self._settings.queue_texts} texts are waiting already")
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(None if terms.deadline == math.inf else terms.deadline):
                self._reading += 1
                try:
                    ids, truncated = await loop.run_in_executor(
                        self._readers, self._tokenise.read, text
                    )
                finally:
                    self._reading -= 1
                if len(ids) <= self._tokenise.special:
                    raise NothingToRead("has no token that the model could read")
                if truncated and not self._settings.cut:
                    most = self._tokenise.max_tokens
                    raise TooLong(f"has more than the {most} tokens that the model reads")
                key = self._cache.key(ids)
                found = await self._cache.get(key)
                if found is None:
                    found = await self._computed(Waiting(ids, terms, loop.create_future()))
                    self._cache.put(key, found)
        except TimeoutError:
            raise Expired("no answer was ready in the time that the request gives it") from None
        self.done.truncated += truncated
        best = int(found.argmax())
        return Answer(
            label=self._labels[best] if found[best] >= self._thresholds[best] else UNKNOWN,
            confidence=float(found[best]),
            probabilities=tuple(found.tolist()),
            labels=self._labels,
            tokens=len(ids),
            truncated=truncated,
        )

    async def _computed(self, item: Waiting) -> NDArray[np.float32]:
        if not self._open:
            raise EngineStopped("the model was stopped")
        self._queue.put(item)
        self._wake()
        try:
            return await item.answer
        finally:
            self._queue.discard(item)

    async def serve(self, worker: Worker) -> None:
        """Have a worker among those that compute, for as long as it lives."""
        self._workers.add(worker)
        self._idle.append(worker)
        self._wake()
        try:
            await worker.listen()
            if self._open:
                self.done.workers_lost += 1
                _log.warning("%s has died; another is to come", worker)
        finally:
            self._workers.discard(worker)
            if worker in self._idle:
                self._idle.remove(worker)

    def _wake(self) -> None:
        """Dispatch once all that happens in this turn of the event loop has happened."""
        if not self._woken:
            self._woken = True
            asyncio.get_running_loop().call_soon(self._dispatch)

    def _dispatch(self) -> None:
        """Give what waits to those that are idle, in equal parts."""
        self._woken = False
        given: list[tuple[Worker, list[Waiting]]] = []
        while self._idle and self._queue.texts:
            share = -(-self._queue.tokens // len(self._idle))
            batch = self._queue.take(min(share, self._settings.batch_tokens))
            given.append((self._idle.pop(0), batch))
        for worker, batch in given:
            # What has nothing to do lends its processors.
            task = asyncio.create_task(
                self._compute(worker, batch, 1 + len(self._idle) // len(given))
            )
            self._computing.add(task)
            task.add_done_callback(self._computing.discard)

    async def _compute(self, worker: Worker, batch: list[Waiting], threads: int) -> None:
        texts = [item.ids for item in batch]
        try:
            found = await worker.compute(texts, threads, self._settings.patience)
        except WorkerLost:
            self._again(batch)
            return
        if worker in self._workers:
            self._idle.append(worker)
        self.done.batches += 1
        self.done.texts += len(batch)
        self.done.tokens += sum(item.tokens for item in batch)
        for item, probabilities in zip(batch, found, strict=True):
            if np.isnan(probabilities[0]):
                _fail(item, PredictionFailed("the model failed on this text"))
            elif not item.answer.done():
                item.answer.set_result(probabilities)
        self._wake()

    def _again(self, batch: list[Waiting]) -> None:
        """Have texts computed that a worker was at when it died."""
        left = []
        for item in batch:
            item.lost += 1
            if not self._open:
                _fail(item, EngineStopped("the model was stopped"))
            elif item.lost >= _MOST_LOST:
                _fail(item, PredictionFailed("the model's process died of this text"))
            elif not item.answer.done():
                left.append(item)
        self._queue.put_back(left)
        self._wake()


def _fail(item: Waiting, error: Exception) -> None:
    if not item.answer.done():
        item.answer.set_exception(error)
