"""Answers that are known: those of this model and these tokens, the last that were asked for, and no others."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from retort.serve.engine.cache import AnswerCache
from retort.serve.engine.engine import Done
from retort.serve.engine.shared_answers import RedisStore, SharedAnswers, without_password
from tests.serve.redis_server import REDIS, RedisServer

needs_redis = pytest.mark.skipif(REDIS is None, reason="needs Debian's redis-server")


def ids(number: int) -> NDArray[np.int64]:
    return np.array([1, number, 2], np.int64)


def answer(number: int) -> NDArray[np.float32]:
    return np.array([number, 1 - number], np.float32)


@given(
    st.integers(0, 5),
    st.lists(st.tuples(st.sampled_from(["get", "put"]), st.integers(0, 8)), max_size=60),
)
def test_it_keeps_what_was_asked_for_last(most: int, steps: list[tuple[str, int]]) -> None:
    async def play() -> None:
        done = Done()
        cache, model = AnswerCache("m", 2, most, done), OrderedDict[int, bytes]()
        found_in_all = 0
        for step, number in steps:
            key = cache.key(ids(number))
            if step == "put":
                cache.put(key, answer(number))
                model[number] = answer(number).tobytes()
                model.move_to_end(number)
                while len(model) > most:
                    model.popitem(last=False)
                continue
            found = await cache.get(key)
            assert (None if found is None else found.tobytes()) == model.get(number)
            if found is not None:
                model.move_to_end(number)
                found_in_all += 1
        asked = sum(step == "get" for step, _ in steps)
        assert (done.known, done.missed) == (found_in_all, asked - found_in_all if most else 0)

    asyncio.run(play())


def test_answers_are_of_one_model_and_of_all_tokens() -> None:
    one, other = (
        AnswerCache(model, 2, 9, Done()) for model in ("sha256:a float32", "sha256:a int8")
    )
    assert one.key(ids(3)) != other.key(ids(3))
    assert len({one.key(np.arange(count)) for count in range(50)}) == 50


def test_what_is_kept_is_not_what_the_caller_has() -> None:
    async def play() -> None:
        cache, given_one = AnswerCache("m", 2, 9, Done()), answer(1)
        cache.put(cache.key(ids(1)), given_one)
        given_one[0] = 7
        found = await cache.get(cache.key(ids(1)))
        assert found is not None
        assert found.tolist() == [1, 0]

    asyncio.run(play())


class Clock:
    """Stands until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


Scenario = Callable[[RedisServer, Callable[[Clock, Done], SharedAnswers]], Awaitable[None]]


def play_with_redis(folder: Path, scenario: Scenario) -> None:
    async def run() -> None:
        opened: list[SharedAnswers] = []

        def shared(clock: Clock, done: Done) -> SharedAnswers:
            store = RedisStore(f"{server.url}?socket_timeout=60&timeout=60", 3600)
            opened.append(SharedAnswers(store, "redis", done, clock))
            return opened[-1]

        with RedisServer(folder) as server:
            try:
                await scenario(server, shared)
            finally:
                for one in opened:
                    await one.close()

    asyncio.run(run())


async def sent(shared: SharedAnswers) -> None:
    """Wait until what was put is there."""
    await asyncio.gather(*shared._pending)


@needs_redis
def test_servers_share_answers_and_none_that_is_not_whole(tmp_path: Path) -> None:
    async def scenario(server: RedisServer, shared: Callable[[Clock, Done], SharedAnswers]) -> None:
        done = Done()
        mine = shared(Clock(), Done())
        theirs = AnswerCache("m", 2, 9, done, shared(Clock(), done))
        key, another = theirs.key(ids(5)), theirs.key(ids(6))
        mine.put(key, answer(5))
        await sent(mine)
        found = await theirs.get(key)
        assert found is not None
        assert found.tobytes() == answer(5).tobytes()
        assert await theirs.get(key) is not None
        assert (done.shared, done.known, done.missed) == (1, 1, 0)
        name, other = f"retort:{key.hex()}", f"retort:{another.hex()}"
        with server.client() as redis:
            assert 3000 < redis.ttl(name) <= 3600
            value = redis.get(name)
            for wrong in (value[:-1], value[1:], b"", b"x" * len(value), value + value):
                redis.set(other, wrong)
                assert await theirs.get(another) is None
            redis.set(other, value)  # of other tokens
            assert await theirs.get(another) is None
            redis.delete(other)
            redis.rpush(other, b"no string")
        assert await theirs.get(another) is None
        assert done.store_failures == 1

    play_with_redis(tmp_path, scenario)


@needs_redis
def test_a_redis_that_dies_is_left_alone_for_a_while_and_asked_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(server: RedisServer, shared: Callable[[Clock, Done], SharedAnswers]) -> None:
        clock, done = Clock(), Done()
        answers = shared(clock, done)
        cache = AnswerCache("m", 2, 1, done, answers)
        key = cache.key(ids(1))
        cache.put(key, answer(1))
        await sent(answers)
        server.kill()
        cache.put(cache.key(ids(2)), answer(2))  # takes the place of the first
        await sent(answers)
        for _ in range(5):
            assert await cache.get(key) is None
        assert (done.store_failures, done.missed) == (1, 5)
        clock.now += 1.5
        assert await cache.get(key) is None
        assert done.store_failures == 2
        server.start()
        clock.now += 1.5
        assert await cache.get(key) is None  # two seconds are not over
        clock.now += 1
        answers.put(key, answer(1))
        await sent(answers)
        found = await cache.get(key)
        assert found is not None
        assert found.tobytes() == answer(1).tobytes()
        assert [record.message.split(" (")[0] for record in caplog.records] == [
            "redis does not answer",
            "redis answers again",
        ]

    caplog.set_level("INFO", logger="retort.serve.engine.shared_answers")
    play_with_redis(tmp_path, scenario)


def test_a_password_is_not_told() -> None:
    assert without_password("rediss://me:secret@host:6380/2") == "rediss://host:6380/2"
    assert without_password("unix://:secret@/run/redis.sock") == "unix:///run/redis.sock"
