"""Grouping: each micro-batch of one length, each step of all lengths, each document once."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from retort.data.batches.grouping import balanced, deal


@given(
    st.tuples(st.integers(1, 9), st.integers(1, 9)), st.integers(1, 60), st.integers(0, 2**32 - 1)
)
def test_balanced_shards_have_each_document_once_and_their_longest_apart(
    shape: tuple[int, int], longest: int, seed: int
) -> None:
    shards, size = shape
    tokens = np.random.default_rng(seed).integers(1, longest + 1, shards * size)
    dealt = balanced(tokens, shards)
    assert dealt.shape == shape
    assert sorted(dealt.ravel().tolist()) == list(range(shards * size))
    assert (np.diff(dealt, axis=1) > 0).all()
    # The longest documents of a step, one in each shard.
    assert sorted(tokens[dealt].max(axis=1)) == sorted(tokens)[-shards:]


def test_ranks_have_about_equally_many_tokens_where_in_the_order_of_the_epoch_they_have_not() -> (
    None
):
    draw = np.random.default_rng(0)
    spread: dict[str, list[float]] = {"balanced": [], "in order": []}
    for _ in range(100):
        # As news are: a few are ten times as long as most.
        tokens = np.minimum(draw.lognormal(4.5, 0.7, 32).astype(np.int64) + 2, 512)
        in_order = np.arange(32).reshape(8, 4)
        for name, dealt in (("balanced", balanced(tokens, 8)), ("in order", in_order)):
            ranks = tokens[dealt].reshape(2, -1).sum(axis=1)
            spread[name].append(float(ranks.max() / ranks.mean()))
    assert np.mean(spread["balanced"]) < 1.02
    assert np.mean(spread["in order"]) > 1.08, "the control"


@given(
    st.integers(0, 2**63 - 1),
    st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 5)),
    st.integers(0, 10**9),
)
def test_every_document_of_a_window_is_dealt_once(
    seed: int, shape: tuple[int, int, int], window: int
) -> None:
    steps, shards, size = shape
    lengths = np.random.default_rng(window).integers(1, 9, steps * shards * size)
    dealt = deal(lengths, shards, size, seed=seed, window=window)
    assert dealt.shape == shape
    assert sorted(dealt.ravel().tolist()) == list(range(len(lengths)))
    sorted_lengths = np.sort(lengths).reshape(-1, size)
    micro_batches = np.sort(lengths[dealt]).reshape(-1, size)
    assert sorted(map(tuple, micro_batches)) == sorted(map(tuple, sorted_lengths))


def test_steps_are_equally_long_and_so_are_the_ranks_that_share_one() -> None:
    steps, shards, size = 16, 8, 4
    lengths = np.random.default_rng(1).permutation(steps * shards * size) + 1
    dealt = lengths[deal(lengths, shards, size, seed=3, window=2)]
    long = dealt.max(axis=2)
    assert np.ptp(long.sum(axis=1)) < 0.2 * long.sum(axis=1).mean()
    for ranks in (2, 4):
        shared = long.reshape(steps, ranks, -1).sum(axis=2)
        assert (np.ptp(shared, axis=1) < 0.25 * shared.mean(axis=1)).all()
    whole, part = lengths.std(), dealt.reshape(steps, -1).std(axis=1)
    assert (abs(part - whole) < 0.1 * whole).all(), "a step has texts of all lengths"


def test_windows_and_seeds_are_dealt_differently() -> None:
    lengths = np.arange(16 * 4 * 2)
    dealt = [
        deal(lengths, 4, 2, seed=seed, window=window).tobytes()
        for seed, window in ((0, 0), (0, 0), (0, 1), (1, 0))
    ]
    assert len(set(dealt)) == 3


def test_where_nothing_is_shorter_than_the_most_the_order_stays_that_of_the_epoch() -> None:
    dealt = deal(np.full(64, 128), 4, 2, seed=0, window=0)
    micro_batches = sorted(map(tuple, dealt.reshape(-1, 2).tolist()))
    assert micro_batches == [(first, first + 1) for first in range(0, 64, 2)]
