"""The queue: room by tokens, priorities, equal shares of clients, and nothing lost or doubled."""

import asyncio

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retort.serve.engine.engine import Overloaded, Priority, Terms
from retort.serve.engine.queue import TokenQueue, Waiting

_LOOP = asyncio.new_event_loop()


def text(tokens: int, client: str = "", priority: Priority = Priority.NORMAL) -> Waiting:
    return Waiting(np.zeros(tokens, np.int64), Terms(client, priority), _LOOP.create_future())


def test_room_is_counted_in_tokens_and_one_text_may_always_wait() -> None:
    queue = TokenQueue(100)
    queue.put(text(500))
    with pytest.raises(Overloaded, match="a text of 500 tokens is waiting already"):
        queue.put(text(1))
    assert [item.tokens for item in queue.take(10)] == [500]
    queue.put(text(60))
    queue.put(text(40))
    with pytest.raises(Overloaded, match="2 texts of 100 tokens are waiting already"):
        queue.put(text(1))
    assert (queue.texts, queue.tokens) == (2, 100)


def test_a_batch_is_what_fits_in_the_order_of_arrival() -> None:
    queue = TokenQueue(1000)
    items = [text(tokens) for tokens in (30, 30, 50, 10)]
    for item in items:
        queue.put(item)
    assert queue.take(100) == items[:2]
    assert queue.take(100) == items[2:]
    assert queue.take(100) == []


def test_a_higher_priority_comes_first() -> None:
    queue = TokenQueue(1000)
    low, normal, high = (text(10, priority=one) for one in reversed(Priority))
    for item in (low, normal, high):
        queue.put(item)
    assert queue.take(1000) == [high, normal, low]


def test_who_sends_little_does_not_wait_for_who_sends_much() -> None:
    queue = TokenQueue(10**6)
    flood = [text(50, "flood") for _ in range(100)]
    for item in flood:
        queue.put(item)
    assert queue.take(100) == flood[:2]
    modest = [text(50, "modest") for _ in range(3)]
    for item in modest:
        queue.put(item)
    taken = [queue.take(50)[0] for _ in range(6)]
    assert [item.terms.client for item in taken].count("modest") == 3
    assert [item for item in taken if item.terms.client == "flood"] == flood[2:5]


def test_a_share_is_of_tokens_not_of_texts() -> None:
    queue = TokenQueue(10**6)
    for _ in range(40):
        queue.put(text(400, "long"))
        queue.put(text(100, "short"))
    taken = [queue.take(1)[0] for _ in range(25)]
    tokens = {
        client: sum(item.tokens for item in taken if item.terms.client == client)
        for client in ("long", "short")
    }
    assert abs(tokens["long"] - tokens["short"]) <= 400


def test_what_is_put_back_comes_first_and_alone() -> None:
    queue = TokenQueue(100)
    suspect, others = text(10), [text(10), text(10)]
    queue.put(suspect)
    assert queue.take(100) == [suspect]
    for item in others:
        queue.put(item)
    suspect.lost = 1
    queue.put_back([suspect])
    assert queue.take(100) == [suspect]
    assert queue.take(100) == others


actions = st.lists(
    st.one_of(
        st.tuples(
            st.just("put"), st.integers(1, 60), st.sampled_from("abc"), st.sampled_from(Priority)
        ),
        st.tuples(st.just("take"), st.integers(1, 120)),
        st.tuples(st.just("leave"), st.integers(0, 50)),
    ),
    max_size=60,
)


@given(actions)
def test_each_text_leaves_once(asked: list[tuple[object, ...]]) -> None:
    queue = TokenQueue(200)
    waiting: list[Waiting] = []
    for kind, *said in asked:
        if kind == "put":
            tokens, client, priority = said
            item = text(tokens, client, priority)  # type: ignore[arg-type]
            try:
                queue.put(item)
            except Overloaded:
                assert sum(one.tokens for one in waiting) + item.tokens > 200
            else:
                waiting.append(item)
        elif kind == "take":
            batch = queue.take(said[0])  # type: ignore[arg-type]
            assert bool(batch) == bool(waiting)
            assert len(batch) == 1 or sum(item.tokens for item in batch) <= said[0]  # type: ignore[operator]
            best = min((item.terms.priority for item in waiting), default=None)
            assert not batch or batch[0].terms.priority == best
            for item in batch:
                waiting.remove(item)
                queue.discard(item)  # as whoever waited for it does
        elif waiting:
            queue.discard(waiting.pop(said[0] % len(waiting)))  # type: ignore[operator]
        assert queue.texts == len(waiting)
        assert queue.tokens == sum(item.tokens for item in waiting)
    assert sorted(map(id, queue.clear())) == sorted(map(id, waiting))
    assert (queue.texts, queue.tokens, queue.take(1)) == (0, 0, [])
