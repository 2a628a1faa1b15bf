"""The norm of a gradient: one number, to the last bit, however it is sliced."""

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from retort.train.engines.contract.layout import FlatLayout
from retort.train.engines.contract.norms import block_squares, norm_of, tree_squares
from retort.train.engines.contract.tree import Node, tree_sum

BLOCK = 128


def gradient(seed: int, blocks: int) -> Tensor:
    values = torch.randn(blocks * BLOCK, generator=torch.Generator().manual_seed(seed))
    return values * torch.logspace(-6, 6, len(values))


def sliced_norm(values: Tensor, layout: FlatLayout, world: int, elements: int) -> float:
    """As ranks compute it: each its slices, with the zeros that fill the last bucket."""
    buckets = layout.buckets(world, elements)
    filled = torch.zeros(buckets[-1].end)
    filled[: len(values)] = values
    squares = torch.cat(
        [
            block_squares(filled[owned.start : owned.stop].clone(), BLOCK)
            for bucket in buckets
            for owned in (bucket.slice_of(rank, world) for rank in range(world))
        ]
    )
    return norm_of(squares[: layout.blocks])


@settings(deadline=None)
@given(st.integers(0, 1000), st.integers(1, 30), st.integers(1, 8), st.integers(1, 40 * BLOCK))
def test_any_slices_give_the_same_bits(seed: int, blocks: int, world: int, elements: int) -> None:
    values = gradient(seed, blocks)
    layout = FlatLayout.of({"all": len(values)}, BLOCK)
    assert layout.blocks == blocks
    assert sliced_norm(values, layout, world, elements) == norm_of(block_squares(values, BLOCK))


def test_it_is_added_along_the_canonical_tree() -> None:
    for count in (1, 2, 3, 5, 6, 7, 8, 100, 1001):
        squares = block_squares(gradient(count, count), BLOCK)
        nodes = ((Node(0, number), one) for number, one in enumerate(squares.tolist()))
        assert norm_of(squares) == math.sqrt(tree_sum(nodes, count, lambda one, two: one + two))


def test_a_sum_in_another_order_gives_other_bits() -> None:
    differ = 0
    for seed in range(20):
        values = torch.randn(25 * BLOCK, generator=torch.Generator().manual_seed(seed))
        squares = block_squares(values, BLOCK)
        differ += norm_of(squares) != math.sqrt(sum(squares.tolist()))
    assert differ > 3


@settings(deadline=None)
@given(st.integers(0, 1000), st.integers(1, 30))
def test_it_is_the_norm_of_the_whole_vector(seed: int, blocks: int) -> None:
    values = gradient(seed, blocks)
    exact = math.sqrt(math.fsum(value * value for value in values.tolist()))
    assert math.isclose(norm_of(block_squares(values, BLOCK)), exact, rel_tol=1e-14)


def test_large_gradients_do_not_overflow() -> None:
    values = torch.full((BLOCK,), 3e38)
    assert math.isclose(
        norm_of(block_squares(values, BLOCK)), 3e38 * math.sqrt(BLOCK), rel_tol=1e-6
    )


def test_what_is_no_number_stays_none() -> None:
    values = torch.zeros(4 * BLOCK)
    values[200] = float("nan")
    assert math.isnan(norm_of(block_squares(values, BLOCK)))
    values[200] = float("inf")
    assert norm_of(block_squares(values, BLOCK)) == math.inf


def test_on_a_gpu_squares_are_added_by_halves_alike_in_any_company() -> None:
    blocks = torch.randn(5, 1 << 12, generator=torch.Generator().manual_seed(3))
    every = tree_squares(blocks)
    assert every.tolist() == [tree_squares(one[None]).item() for one in blocks]
    exact = [math.fsum(value * value for value in one) for one in blocks.double().tolist()]
    assert all(
        math.isclose(*pair, rel_tol=1e-14) for pair in zip(every.tolist(), exact, strict=True)
    )
