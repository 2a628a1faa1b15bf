"""The batching engine over workers that the test holds: every request has one outcome, and it is its own."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from retort.serve.engine.batching import BatchingEngine, Settings, WorkerLost
from retort.serve.engine.cache import AnswerCache
from retort.serve.engine.engine import (
    NO_TERMS,
    Answer,
    Done,
    EngineError,
    EngineStopped,
    Expired,
    NothingToRead,
    Overloaded,
    PredictionFailed,
    Terms,
    TooLong,
    TooMany,
)


class Letters:
    """Reads a letter as a token, between two special ones, of ten at most."""

    special = 2
    max_tokens = 10

    def read(self, text: str) -> tuple[NDArray[np.int64], bool]:
        ids = np.array([0, *map(ord, text[: self.max_tokens - 2]), 0], np.int64)
        return ids, len(text) + 2 > self.max_tokens


def says_of(ids: NDArray[np.int64]) -> NDArray[np.float32]:
    share = np.float32(ids.sum() % 1009 / 1009)
    return np.array([share, 1 - share], np.float32)


class Worker:
    """Computes when it is told to; `X` in a text makes it die, and `F` fail."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.begun: asyncio.Queue[None] = asyncio.Queue()
        self.allowed = asyncio.Semaphore(0)
        self.gone = asyncio.Event()

    async def listen(self) -> None:
        await self.gone.wait()

    async def compute(
        self, texts: Sequence[NDArray[np.int64]], threads: int, patience: float
    ) -> NDArray[np.float32]:
        said = ["".join(map(chr, text[1:-1])) for text in texts]
        self.batches.append(said)
        self.begun.put_nowait(None)
        await self.allowed.acquire()
        if any("X" in text for text in said):
            self.gone.set()
            raise WorkerLost
        nothing = np.full(2, np.nan, np.float32)
        return np.stack(
            [nothing if "F" in one else says_of(ids) for one, ids in zip(said, texts, strict=True)]
        )


Scenario = Callable[[BatchingEngine, list[Worker]], Awaitable[None]]


def play(scenario: Scenario, *, workers: int = 1, cache: int = 0, **settings: Any) -> None:
    async def run() -> None:
        letters: Any = Letters()
        known = AnswerCache("model", 2, cache, Done())
        engine = BatchingEngine(letters, ("a", "b"), Settings(**settings), cache=known)
        all_of_them = [Worker() for _ in range(workers)]
        tasks = [asyncio.create_task(engine.serve(one)) for one in all_of_them]
        await asyncio.sleep(0)
        await scenario(engine, all_of_them)
        engine.close()
        for task in tasks:
            task.cancel()

    asyncio.run(run())


async def ask(
    engine: BatchingEngine, *texts: str, terms: Terms = NO_TERMS
) -> "list[asyncio.Task[Answer]]":
    """Ask, and return when each text is computed, waits or was refused."""
    tasks = []
    for text in texts:
        tasks.append(asyncio.create_task(engine.predict(text, terms)))
        await asyncio.sleep(0)
        while engine.load.reading:
            await asyncio.sleep(0)
    return tasks


def allow(workers: Sequence[Worker], batches: int = 1000) -> None:
    for worker in workers:
        for _ in range(batches):
            worker.allowed.release()


def test_what_is_known_is_not_computed_and_does_not_wait() -> None:
    async def scenario(engine: BatchingEngine, workers: list[Worker]) -> None:
        (worker,) = workers
        allow(workers, 1)
        first = await engine.predict("a")
        assert await engine.predict("a") == first
        waiting = await ask(engine, "b", "c")
        assert await engine.predict("a") == first
        assert worker.batches == [["a"], ["b"]]
        for task in waiting:
            task.cancel()
        assert (engine.done.known, engine.done.missed) == (2, 3)

    play(scenario, cache=9)


def test_a_client_that_has_as_many_texts_here_as_it_may_is_refused_and_no_other() -> None:
    async def scenario(engine: BatchingEngine, workers: list[Worker]) -> None:
        one, other = Terms(client="one"), Terms(client="other")
        tasks = await ask(engine, "a", "b", terms=one)
        with pytest.raises(TooMany, match="2 texts of this client are here already"):
            await engine.predict("c", one)
        tasks += await ask(engine, "d", terms=other)
        allow(workers)
        await asyncio.gather(*tasks)
        assert (await engine.predict("e", one)).tokens == 3

    play(scenario, client_texts=2)


def test_a_failure_is_not_kept() -> None:
    async def scenario(engine: BatchingEngine, workers: list[Worker]) -> None:
        allow(workers)
        for _ in range(2):
            with pytest.raises(PredictionFailed):
                await engine.predict("F")
        assert workers[0].batches == [["F"], ["F"]]

    play(scenario, cache=9)


def test_what_comes_while_one_batch_is_computed_is_the_next() -> None:
    async def scenario(engine: BatchingEngine, workers: list[Worker]) -> None:
        (worker,) = workers
        tasks = await ask(engine, "a", "b", "c", "d")
        assert worker.batches == [["a"]]
        allow(workers)
        answers = await asyncio.gather(*tasks)
        assert worker.batches == [["a"], ["b", "c", "d"]]
        assert [answer.tokens for answer in answers] == [3] * 4
        expected = [says_of(Letters().read(text)[0]).tolist() for text in "abcd"]
        assert [list(answer.probabilities) for answer in answers] == expected

    play(scenario)


def test_a_batch_has_so_many_tokens() -> None:
    async def scenario(engine: BatchingEngine, workers: list[Worker]) -> None:
        tasks = await ask(engine, *"abcdef")
        allow(workers)
        await asyncio.gather(*tasks)
        assert workers[0].batches == [["a"], ["b", "c"], ["d", "e"], ["f"]]

    play(scenario, batch_tokens=7)


def test_workers_that_are_idle_share_what_waits() -> None:
    async def scenario(engine: BatchingEngine, workers: list[Worker]) -> None:
        tasks = await ask(engine, *"abcdef")
        first, second = workers
        assert (first.batches, second.batches) == ([["a"]], [["b"]])
        assert (engine.load.texts, engine.load.computing) == (4, 2)
        allow(workers)
        await asyncio.gather(*tasks)
        assert sorted(map(len, first.batches + second.batches)) == [1, 1, 2, 2]

    play(scenario, workers=2)


def test_one_text_that_the_model_fails_on_fails_alone() -> None:
    async def scenario(engine: BatchingEngine, workers: list[Worker]) -> None:
        tasks = await ask(engine, "a", "b", "F", "d")
        allow(workers)
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(one) for one in outcomes] == [Answer, Answer, PredictionFailed, Answer]
        assert workers[0].batches[1] == ["b", "F", "d"]

    play(scenario)


def test_one_text_that_kills_is_tried_twice_and_takes_no_other_with_it() -> None:
    async def scenario(engine: BatchingEngine, workers: list[Worker]) -> None:
        tasks = await ask(engine, "a", "b", "X", "d")
        allow(workers)
        while engine.load.workers:
            await asyncio.sleep(0)
        coming = [Worker(), Worker()]
        allow(coming)
        await engine.serve(coming[0])  # until it has died of it, too
        served = asyncio.create_task(engine.serve(coming[1]))
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(one) for one in outcomes] == [Answer, Answer, PredictionFailed, Answer]
        tried = [
            batch for worker in (*workers, *coming) for batch in worker.batches if "X" in batch
        ]
        assert tried == [["b", "X", "d"], ["X"]]
        served.cancel()

    play(scenario)


def test_a_deadline_ends_a_wait_and_what_nobody_wants_is_not_computed() -> None:
    async def scenario(engine: BatchingEngine, workers: list[Worker]) -> None:
        (first,) = await ask(engine, "a")
        (late,) = await ask(engine, "b", terms=Terms(deadline=time.monotonic() + 0.01))
        (left,) = await ask(engine, "c")
        (last,) = await ask(engine, "d")
        left.cancel()
        with pytest.raises(Expired, match="in the time that the request gives it"):
            await late
        allow(workers)
        await asyncio.gather(first, last)
        assert workers[0].batches == [["a"], ["d"]]

    play(scenario)


def test_texts_that_cannot_be_answered_are_refused() -> None:
    async def scenario(engine: BatchingEngine, workers: list[Worker]) -> None:
        with pytest.raises(NothingToRead):
            await engine.predict("")
        with pytest.raises(TooLong, match="more than the 10 tokens"):
            await engine.predict("123456789")
        tasks = await ask(engine, "12345678", "b")
        with pytest.raises(Overloaded, match="1 texts are waiting already"):
            await engine.predict("c")
        engine.close()
        with pytest.raises(EngineStopped, match="not running"):
            await engine.predict("d")
        with pytest.raises(EngineStopped, match="was stopped"):
            await tasks[1]
        allow(workers)
        assert not (await tasks[0]).truncated

    play(scenario, cut=False, queue_texts=1)


def test_a_text_that_is_cut_says_so() -> None:
    async def scenario(engine: BatchingEngine, workers: list[Worker]) -> None:
        allow(workers)
        answer = await engine.predict("123456789")
        assert (answer.truncated, answer.tokens) == (True, 10)

    play(scenario)


@given(
    st.lists(
        st.tuples(st.text("abcFX", max_size=12), st.sampled_from("uvw"), st.sampled_from("dnc")),
        max_size=30,
    ),
    st.integers(1, 3),
    st.integers(1, 40),
)
def test_every_request_has_one_outcome_and_it_is_its_own(
    asked: list[tuple[str, str, str]], count: int, batch_tokens: int
) -> None:
    async def scenario(engine: BatchingEngine, workers: list[Worker]) -> None:
        tasks = []

        async def replace() -> None:
            worker = Worker()
            allow([worker])
            while True:
                await engine.serve(worker)
                worker.gone.clear()

        for text, client, fate in asked:
            deadline = 0.0 if fate == "d" else float("inf")
            (task,) = await ask(engine, text, terms=Terms(client, deadline=deadline))
            tasks.append(task)
            if fate == "c":
                task.cancel()
        allow(workers)
        replacing = asyncio.create_task(replace())
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        for (text, _, fate), outcome in zip(asked, outcomes, strict=True):
            if isinstance(outcome, Answer):
                assert outcome.probabilities == tuple(says_of(Letters().read(text)[0]).tolist())
                assert not set("FX") & set(text[:8])
            elif isinstance(outcome, asyncio.CancelledError):
                assert fate == "c"
            elif isinstance(outcome, PredictionFailed):
                assert set("FX") & set(text[:8])
            else:
                assert isinstance(outcome, EngineError)
                assert fate == "d" or not text
        assert engine.load.texts == engine.load.reading == 0
        replacing.cancel()

    play(scenario, workers=count, batch_tokens=batch_tokens)
