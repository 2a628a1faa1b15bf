"""The engine: one thread, a bounded queue, and every request gets exactly one outcome."""

import asyncio
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retort.models.predict import Prediction
from retort.serve.engine.engine import EngineStopped, Overloaded, PredictionFailed
from retort.serve.engine.single import WorkerEngine


class Model:
    """A function that waits for permission; some texts make it fail or die."""

    def __init__(self, *, blocked: bool = False) -> None:
        self.computed: list[str] = []
        self.threads: set[int] = set()
        self.busy = threading.Event()
        self.allowed = threading.Event()
        if not blocked:
            self.allowed.set()

    def prepare(self) -> None:
        self.threads.add(threading.get_ident())

    def predict(self, text: str) -> Prediction:
        self.busy.set()
        self.allowed.wait()
        self.threads.add(threading.get_ident())
        self.computed.append(text)
        if text.startswith("fail"):
            raise RuntimeError("out of memory")
        if text.startswith("die"):
            raise SystemExit
        return Prediction(text, 0.5)

    def engine(self, queue_size: int = 64) -> WorkerEngine:
        return WorkerEngine(self.prepare, self.predict, queue_size=queue_size)


async def begin(engine: WorkerEngine, model: Model, text: str) -> "asyncio.Task[Prediction]":
    """Ask, and return when the model has begun to compute the text."""
    task = asyncio.create_task(engine.predict(text))
    await asyncio.to_thread(model.busy.wait)
    return task


async def ask(engine: WorkerEngine, text: str) -> "asyncio.Task[Prediction]":
    """Ask, and return when the text waits in the queue or was refused."""
    task = asyncio.create_task(engine.predict(text))
    await asyncio.sleep(0)
    return task


def test_one_thread_computes_in_order_of_arrival() -> None:
    model = Model()
    engine = model.engine()
    texts = [f"text {number}" for number in range(20)]

    async def scenario() -> list[Prediction]:
        return await asyncio.gather(*(engine.predict(text) for text in texts))

    assert [prediction.label for prediction in asyncio.run(scenario())] == texts
    assert model.computed == texts
    assert len(model.threads) == 1
    assert threading.get_ident() not in model.threads
    engine.close(timeout=60)


def test_more_than_the_queue_holds_is_refused_and_the_rest_is_answered() -> None:
    model = Model(blocked=True)
    engine = model.engine(queue_size=2)

    async def scenario() -> None:
        running = await begin(engine, model, "running")
        waiting = [await ask(engine, "first"), await ask(engine, "second")]
        with pytest.raises(Overloaded, match="2 requests"):
            await engine.predict("too many")
        model.allowed.set()
        await asyncio.gather(running, *waiting)

    asyncio.run(scenario())
    assert model.computed == ["running", "first", "second"]
    engine.close(timeout=60)


def test_who_gives_up_frees_the_place_and_is_not_computed() -> None:
    model = Model(blocked=True)
    engine = model.engine(queue_size=1)

    async def scenario() -> None:
        running = await begin(engine, model, "running")
        leaving = await ask(engine, "leaving")
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        staying = await ask(engine, "staying")
        model.allowed.set()
        await asyncio.gather(running, staying)

    asyncio.run(scenario())
    assert model.computed == ["running", "staying"]
    engine.close(timeout=60)


def test_who_gives_up_while_computed_leaves_the_engine_working() -> None:
    model = Model(blocked=True)
    engine = model.engine()

    async def scenario() -> Prediction:
        running = await begin(engine, model, "running")
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        model.allowed.set()
        return await engine.predict("next")

    assert asyncio.run(scenario()).label == "next"
    engine.close(timeout=60)


def test_an_error_of_the_model_fails_that_request_alone() -> None:
    model = Model()
    engine = model.engine()

    async def scenario() -> list[Prediction | BaseException]:
        asked = (engine.predict(text) for text in ("one", "fail", "two"))
        return await asyncio.gather(*asked, return_exceptions=True)

    one, failed, two = asyncio.run(scenario())
    assert (one, two) == (Prediction("one", 0.5), Prediction("two", 0.5))
    assert isinstance(failed, PredictionFailed)
    assert "out of memory" not in str(failed), "inner errors are for the log"
    assert engine.is_alive()
    engine.close(timeout=60)


def test_when_the_thread_dies_nobody_hangs_and_health_says_so() -> None:
    model = Model(blocked=True)
    engine = model.engine()

    async def scenario() -> tuple[Prediction | BaseException, ...]:
        running = await begin(engine, model, "die")
        waiting = await ask(engine, "waiting")
        assert engine.is_alive()
        model.allowed.set()
        outcomes = await asyncio.gather(running, waiting, return_exceptions=True)
        with pytest.raises(EngineStopped):
            await engine.predict("afterwards")
        return outcomes

    assert [type(outcome) for outcome in asyncio.run(scenario())] == [EngineStopped] * 2
    assert not engine.is_alive()
    assert model.computed == ["die"]


def test_a_model_that_cannot_be_prepared_is_not_alive() -> None:
    def prepare() -> None:
        raise RuntimeError("no such number of threads")

    engine = WorkerEngine(prepare, Model().predict, queue_size=1)
    engine.close(timeout=60)
    assert not engine.is_alive()


def test_closing_finishes_what_runs_and_fails_what_waits() -> None:
    model = Model(blocked=True)
    engine = model.engine()

    async def scenario() -> tuple[Prediction | BaseException, ...]:
        running = await begin(engine, model, "running")
        waiting = await ask(engine, "waiting")
        closing = asyncio.create_task(asyncio.to_thread(engine.close, 60))
        with pytest.raises(EngineStopped):
            await waiting
        model.allowed.set()
        await closing
        return await asyncio.gather(running, waiting, return_exceptions=True)

    answered, failed = asyncio.run(scenario())
    assert answered == Prediction("running", 0.5)
    assert isinstance(failed, EngineStopped)
    assert not engine.is_alive()


@given(
    asked=st.lists(st.tuples(st.sampled_from(["ok", "fail"]), st.booleans()), max_size=30),
    queue_size=st.integers(1, 8),
)
def test_every_request_has_one_outcome(asked: list[tuple[str, bool]], queue_size: int) -> None:
    """Whatever mixture fails, gives up and overflows: nobody hangs, nothing is computed twice."""
    model = Model()
    engine = model.engine(queue_size)
    texts = [f"{kind} {number}" for number, (kind, _) in enumerate(asked)]

    async def scenario() -> list[Prediction | BaseException]:
        tasks = [await ask(engine, text) for text in texts]
        for task, (_, gives_up) in zip(tasks, asked, strict=True):
            if gives_up:
                task.cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    outcomes = asyncio.run(scenario())
    engine.close(timeout=60)
    assert len(model.computed) == len(set(model.computed))
    for text, (kind, gives_up), outcome in zip(texts, asked, outcomes, strict=True):
        if isinstance(outcome, Prediction):
            assert outcome.label == text
            assert kind == "ok"
        elif isinstance(outcome, PredictionFailed):
            assert kind == "fail"
        elif isinstance(outcome, Overloaded):
            assert text not in model.computed
        else:
            assert isinstance(outcome, asyncio.CancelledError)
            assert gives_up
