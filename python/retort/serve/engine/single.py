"""The small engine: one thread runs the model on one text at a time, fed by a bounded queue.

The event loop never computes and never blocks, so the server answers for its health while the
model is busy. One text at a time needs no padding: an answer has the same bits alone or in a crowd.
"""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field

from retort.models.predict import Prediction, TextWithoutTokens
from retort.serve.engine.engine import EngineStopped, NothingToRead, Overloaded, PredictionFailed

_log = logging.getLogger(__name__)


@dataclass(eq=False, frozen=True)
class _Job:
    text: str
    answer: Future[Prediction] = field(default_factory=Future)


class WorkerEngine:
    """An `InferenceEngine` whose model is a plain function, called in one thread of its own.

    Args:
        prepare: called once, first, in that thread (PyTorch keeps its thread count per thread).
        predict: called with one text at a time. What it raises fails that one request, unless it
            is no `Exception` (a wish to end the thread): that stops the engine.
        queue_size: how many texts may wait while one is computed.
    """

    def __init__(
        self,
        prepare: Callable[[], None],
        predict: Callable[[str], Prediction],
        *,
        queue_size: int,
    ) -> None:
        self._prepare = prepare
        self._predict = predict
        self._queue_size = queue_size
        self._waiting: deque[_Job] = deque()
        self._open = True
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="retort-model", daemon=True)
        self._thread.start()

    async def predict(self, text: str) -> Prediction:
        job = _Job(text)
        with self._changed:
            if not self._open:
                raise EngineStopped("the model is not running")
            if len(self._waiting) >= self._queue_size:
                raise Overloaded(f"{self._queue_size} requests are waiting already")
            self._waiting.append(job)
            self._changed.notify()
        try:
            return await asyncio.wrap_future(job.answer)
        except asyncio.CancelledError:
            with self._changed, suppress(ValueError):
                self._waiting.remove(job)
            raise

    def is_alive(self) -> bool:
        return self._open and self._thread.is_alive()

    def close(self, timeout: float) -> None:
        self._stop()
        self._thread.join(timeout)

    def _work(self) -> None:
        try:
            self._prepare()
            while (job := self._next()) is not None:
                if job.answer.set_running_or_notify_cancel():
                    self._compute(job)
        except BaseException:
            _log.critical("the model's thread has died; restart the server", exc_info=True)
        finally:
            self._stop()

    def _next(self) -> _Job | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or not self._open)
            return self._waiting.popleft() if self._waiting else None

    def _compute(self, job: _Job) -> None:
        try:
            prediction = self._predict(job.text)
        except TextWithoutTokens as error:
            job.answer.set_exception(NothingToRead(str(error)))
        except Exception:
            _log.exception("the model failed on one request")
            job.answer.set_exception(PredictionFailed("the model failed on this text"))
        except BaseException:
            job.answer.set_exception(EngineStopped("the model has died"))
            raise
        else:
            job.answer.set_result(prediction)

    def _stop(self) -> None:
        with self._changed:
            self._open = False
            while self._waiting:
                job = self._waiting.popleft()
                if job.answer.set_running_or_notify_cancel():
                    job.answer.set_exception(EngineStopped("the model was stopped"))
            self._changed.notify()
