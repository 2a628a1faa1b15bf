"""The canonical tree: one sum of the shards, bit for bit, however ranks share them."""

from itertools import pairwise
from random import Random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from retort.train.engines.contract.tree import (
    Node,
    cut,
    plan_nodes,
    plan_range,
    share_of,
    tree_sum,
)

Vector = NDArray[np.float32]

SHARDS = st.integers(1, 40)
SEEDS = st.integers(0, 2**32 - 1)


def gradients(seed: int, shards: int) -> list[Vector]:
    """Vectors whose sum depends on the brackets: magnitudes differ by many orders."""
    random = np.random.default_rng(seed)
    spread = np.exp(random.normal(scale=4.0, size=(shards, 16)))
    return list((random.normal(size=(shards, 16)) * spread).astype(np.float32))


def level_by_level(values: list[Vector]) -> Vector:
    """Add neighbours, then neighbours of those, until one is left: the tree as it is defined."""
    while len(values) > 1:
        pairs = [left + right for left, right in zip(values[::2], values[1::2], strict=False)]
        values = pairs + values[len(pairs) * 2 :]
    return values[0]


def left_to_right(values: list[Vector]) -> Vector:
    total = values[0]
    for value in values[1:]:
        total = total + value
    return total


def roots_of(share: range, given: list[Vector]) -> list[tuple[Node, Vector]]:
    """What a rank has after its shards, computed as its plan says."""
    plan = plan_range(share, len(given))
    slots: dict[int, Vector] = {}
    roots: dict[int, Vector] = {}
    for shard, leaf in zip(share, plan.leaves, strict=True):
        value = given[shard]
        for slot in leaf.lefts:
            value = slots.pop(slot) + value
        if leaf.root is None:
            assert leaf.slot < plan.slots
            assert leaf.slot not in slots, "what is alive is not written over"
            slots[leaf.slot] = value
        else:
            assert leaf.root not in roots
            roots[leaf.root] = value
    assert not slots, "all that is left is in a root"
    return [(node, roots[number]) for number, node in enumerate(plan.roots)]


def add(left: Vector, right: Vector) -> Vector:
    return left + right


@st.composite
def partitions(draw: st.DrawFn) -> list[range]:
    """Ranges that follow each other and cover up to 40 shards; none is empty."""
    shards = draw(SHARDS)
    cuts = draw(st.sets(st.integers(1, shards - 1))) if shards > 1 else set()
    bounds = [0, *sorted(cuts), shards]
    return [range(*pair) for pair in pairwise(bounds)]


@settings(deadline=None)
@given(partitions(), SEEDS, st.randoms(use_true_random=False))
def test_any_partition_gives_the_bits_of_the_sequential_tree(
    shares: list[range], seed: int, chance: Random
) -> None:
    values = gradients(seed, shares[-1].stop)
    nodes = [root for share in shares for root in roots_of(share, values)]
    chance.shuffle(nodes)
    total = tree_sum(nodes, len(values), add)
    assert total.tobytes() == level_by_level(values).tobytes()


@settings(deadline=None)
@given(st.data(), SHARDS, SEEDS)
def test_any_world_size_gives_the_bits_of_the_sequential_tree(
    data: st.DataObject, shards: int, seed: int
) -> None:
    size = data.draw(st.integers(1, shards))
    values = gradients(seed, shards)
    shares = [share_of(rank, size, shards) for rank in range(size)]
    nodes = [root for share in shares for root in roots_of(share, values)]
    assert tree_sum(nodes, shards, add).tobytes() == level_by_level(values).tobytes()


def test_the_sum_from_left_to_right_is_another() -> None:
    for shards in range(4, 41):
        values = gradients(shards, shards)
        assert left_to_right(values).tobytes() != level_by_level(values).tobytes()


def test_sums_of_ranges_added_rank_by_rank_are_another() -> None:
    values = gradients(3, 8)
    by_rank = [left_to_right([values[shard] for shard in share_of(r, 3, 8)]) for r in range(3)]
    assert left_to_right(by_rank).tobytes() != level_by_level(values).tobytes()


@settings(deadline=None)
@given(st.data(), SHARDS)
def test_shares_follow_each_other_cover_every_shard_and_differ_by_one_at_most(
    data: st.DataObject, shards: int
) -> None:
    size = data.draw(st.integers(1, shards))
    shares = [share_of(rank, size, shards) for rank in range(size)]
    assert [shard for share in shares for shard in share] == list(range(shards))
    lengths = {len(share) for share in shares}
    assert min(lengths) >= 1
    assert max(lengths) - min(lengths) <= 1


def log2_of(number: int) -> int:
    """Rounded down."""
    return number.bit_length() - 1


@settings(deadline=None)
@given(st.integers(1, 4096))
def test_a_rank_alone_keeps_at_most_log2_and_one_gradients(shards: int) -> None:
    assert plan_range(range(shards), shards).slots <= log2_of(shards) + 1


@settings(deadline=None)
@given(st.integers(0, 9), st.integers(0, 9))
def test_ranks_that_are_powers_of_two_have_one_root_each_and_few_gradients(
    one: int, two: int
) -> None:
    size, shards = 1 << min(one, two), 1 << max(one, two)
    for rank in range(size):
        plan = plan_range(share_of(rank, size, shards), shards)
        assert len(plan.roots) == 1
        assert plan.slots <= max(1, log2_of(shards // size))


@settings(deadline=None)
@given(partitions())
def test_a_range_anywhere_keeps_at_most_twice_as_many(shares: list[range]) -> None:
    for share in shares:
        plan = plan_range(share, shares[-1].stop)
        assert plan.slots <= 2 * (log2_of(len(share)) + 1)


@settings(deadline=None)
@given(partitions())
def test_roots_cover_every_shard_once_and_none_can_be_merged_within_its_rank(
    shares: list[range],
) -> None:
    shards = shares[-1].stop
    covered: list[int] = []
    for share in shares:
        roots = plan_range(share, shards).roots
        for node in roots:
            covered += range(node.index << node.level, min(shards, (node.index + 1) << node.level))
            assert node.sibling() not in roots
    assert sorted(covered) == list(range(shards))


@given(
    st.integers(1, 40).flatmap(lambda shards: st.tuples(st.integers(1, shards), st.just(shards))),
    st.integers(0, 60),
)
def test_a_share_is_cut_into_subtrees_in_the_order_of_shards(
    world: tuple[int, int], most: int
) -> None:
    size, shards = world
    sizes = {shard: 1 + shard % 5 for shard in range(shards)}
    for rank in range(size):
        share = share_of(rank, size, shards)
        nodes = cut(plan_range(share, shards).roots, sizes, most, shards)
        assert [shard for node in nodes for shard in node.of(shards)] == list(share)
        assert all(
            len(one.of(shards)) == 1 or sum(map(sizes.__getitem__, one.of(shards))) <= most
            for one in nodes
        )
        plan = plan_nodes(nodes, shards)
        assert plan.roots == plan_range(share, shards).roots
        assert sorted(leaf.root for leaf in plan.leaves if leaf.root is not None) == list(
            range(len(plan.roots))
        )
