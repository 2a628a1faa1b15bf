"""Sums over shards have the bits of shards that are computed one after another and added along the canonical tree."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from retort.kernels.attention import Setting, attention, attention_gradients
from retort.kernels.destinations import made_in
from retort.kernels.elementwise import drop, dropout_at, dropped
from retort.kernels.embeddings import embedding, touched
from retort.kernels.library import Kernels, usable
from retort.kernels.norms import norm, norm_gradients
from retort.kernels.products import linear, matmul, pack, product
from retort.kernels.shards import sum_of_products, sum_of_rows
from retort.train.engines.contract.tree import Node, tree_sum
from tests.kernels import reference
from tests.kernels.drawn import LAID, numbers

BY = pytest.mark.parametrize("by", usable(), ids=lambda one: one.instructions)
SHARDS = st.lists(st.one_of(st.integers(0, 30), st.just(600)), min_size=1, max_size=21)
Laid = Callable[[Tensor], Tensor]


def starts_of(sizes: Sequence[int]) -> Tensor:
    """Where each shard begins, and the last ends."""
    return torch.tensor([0, *sizes]).cumsum(0)


def added(values: Sequence[Tensor]) -> Tensor:
    """The root of the canonical tree, as the training engine has it."""
    nodes = ((Node(0, number), one) for number, one in enumerate(values))
    return tree_sum(nodes, len(values), torch.add)


@BY
@settings(max_examples=25, deadline=None)
@given(
    sizes=SHARDS,
    shape=st.tuples(st.sampled_from([1, 5, 73, 170]), st.sampled_from([1, 40, 129, 260])),
    laid=st.tuples(LAID, LAID),
    rounded=st.booleans(),
    threads=st.integers(1, 3),
)
def test_a_sum_of_products_is_that_of_the_shards(
    by: Kernels,
    *,
    sizes: list[int],
    shape: tuple[int, int],
    laid: tuple[Laid, Laid],
    rounded: bool,
    threads: int,
) -> None:
    (m, n), starts = shape, starts_of(sizes)
    k = int(starts[-1])
    left, right = numbers(1, m, k, special=0.01), numbers(2, k, n, special=0.01)
    found = sum_of_products(
        laid[0](left), laid[1](right), starts, rounded=rounded, threads=threads, by=by
    )
    expected = added(
        [
            product(left[:, begin:end], pack(right[begin:end], by, rounded=rounded))
            for begin, end in pairwise(starts.tolist())
        ]
    )
    assert reference.same(found, expected.numpy())


@BY
@settings(max_examples=25)
@given(sizes=SHARDS, n=st.integers(1, 150), laid=LAID, threads=st.integers(1, 3))
def test_a_sum_of_rows_and_the_gradients_of_a_norm_are_those_of_the_shards(
    by: Kernels, *, sizes: list[int], n: int, laid: Laid, threads: int
) -> None:
    starts = starts_of(sizes)
    above, x = (numbers(seed, int(starts[-1]), n, special=0.01) for seed in (3, 4))
    weight = numbers(5, n)
    _, means, scales = norm(x, weight, None, 1e-6, centred=True, by=by)
    rows, *by_norm = (
        sum_of_rows(laid(above), starts, threads, by),
        *norm_gradients(
            *(laid(above), laid(x), weight, means, scales),
            centred=True,
            shards=starts,
            threads=threads,
            by=by,
        )[1:],
    )
    alone = [
        (
            sum_of_rows(above[part], by=by),
            *norm_gradients(
                *(above[part], x[part], weight, means[part], scales[part]), centred=True, by=by
            )[1:],
        )
        for part in (slice(*one) for one in pairwise(starts.tolist()))
    ]
    for found, expected in zip((rows, *by_norm), zip(*alone, strict=True), strict=True):
        assert reference.same(found, added(expected).numpy())


@BY
@settings(max_examples=40)
@given(
    sizes=st.lists(st.integers(0, 6), min_size=1, max_size=40),
    count=st.integers(1, 12),
    threads=st.integers(1, 3),
)
def test_rows_touched_are_those_of_the_shards(
    by: Kernels, *, sizes: list[int], count: int, threads: int
) -> None:
    starts = starts_of(sizes)
    above = numbers(6, int(starts[-1]), 21)
    ids = torch.randint(count, (len(above),), generator=torch.Generator().manual_seed(count))
    taken, found = touched(above, ids, starts, threads, by)
    tables = []
    for begin, end in pairwise(starts.tolist()):
        which, rows = touched(above[begin:end], ids[begin:end])
        tables.append(torch.zeros(count, 21).index_copy_(0, which, rows))
    expected = added(tables)
    assert reference.same(found, expected[taken].numpy())
    assert not expected.index_fill(0, taken, 0).any()


def test_gradients_of_weights_are_added_along_the_tree() -> None:
    starts = starts_of([3, 0, 5, 1, 4])
    given = {"table": (9, 7), "weight": (4, 7), "bias": (4,)}
    ids = torch.randint(9, (13,), generator=torch.Generator().manual_seed(0))

    def gradients(ids: Tensor, shards: Tensor | None, above: Tensor) -> list[Tensor]:
        one = {
            name: numbers(seed, *size).requires_grad_()
            for seed, (name, size) in enumerate(given.items())
        }
        x = embedding(one["table"], ids, shards)
        y = linear(x, one["weight"], one["bias"], rounded=True, shards=shards)
        torch.autograd.backward(y, above)
        return [each.grad for each in one.values() if each.grad is not None]

    above = numbers(9, 13, 4)
    whole = gradients(ids, starts, above)
    alone = [
        gradients(ids[begin:end], None, above[begin:end])
        for begin, end in pairwise(starts.tolist())
    ]
    assert len(whole) == 3
    for found, each in zip(whole, zip(*alone, strict=True), strict=True):
        assert torch.equal(found, added(each))


@pytest.mark.parametrize("shards", [None, starts_of([3, 0, 5, 1, 4])])
def test_gradients_of_weights_are_made_in_memory_that_is_given(shards: Tensor | None) -> None:
    ids = torch.randint(9, (13,), generator=torch.Generator().manual_seed(0))
    given = {"table": (9, 7), "weight": (4, 7), "matrix": (4, 5)}
    found = []
    for destined in (False, True):
        table, weight, matrix = weights = [
            numbers(seed, *size).requires_grad_() for seed, size in enumerate(given.values())
        ]
        flat = numbers(8, sum(one.numel() for one in weights))  # what was there is not added to
        parts = torch.split(flat, [one.numel() for one in weights])
        places = {
            one.data_ptr(): part.view_as(one) for one, part in zip(weights, parts, strict=True)
        }
        x = embedding(table, ids, shards)
        y = matmul(linear(x, weight, shards=shards), matrix, None, False, shards)
        with made_in(places if destined else {}):
            torch.autograd.backward(y, numbers(9, 13, 5))
        for one in weights:
            assert one.grad is not None
            assert (one.grad.data_ptr() == places[one.data_ptr()].data_ptr()) is destined
        found.append([one.grad for one in weights])
    assert all(map(torch.equal, *found))


def test_dropout_is_that_of_each_shard() -> None:
    starts, x = starts_of([3, 0, 5]), torch.ones(8, 33, requires_grad=True)
    dropouts = [dropout_at(0.5, 1, 2, shard) for shard in range(3)]
    found = dropped(x, dropouts, starts)
    parts = zip(dropouts, pairwise(starts.tolist()), strict=True)
    expected = torch.cat([drop(torch.ones(end - begin, 33), one) for one, (begin, end) in parts])
    assert torch.equal(found, expected)
    torch.autograd.backward(found.sum())
    assert x.grad is not None
    assert torch.equal(x.grad, expected)


def test_attention_drops_what_it_drops_in_each_shard() -> None:
    offsets, shards = starts_of([3, 4, 0, 5, 17]), torch.tensor([0, 2, 2, 5])
    given = [numbers(seed, 29, 2, 8) for seed in range(4)]
    dropouts = tuple(dropout_at(0.3, 1, 2, shard) for shard in range(3))
    cut = Setting(0.3, False, dropouts, shards)

    def both(part: slice, here: Tensor, setting: Setting) -> list[Tensor]:
        q, k, v, above = (one[part] for one in given)
        result, *found = attention(q, k, v, here, setting)
        by = attention_gradients(above, (q, k, v, here), (found[0], found[1]), setting)
        return [result, *found, *by]

    whole = both(slice(None), offsets, cut)
    alone = []
    for dropout, (first, last) in zip(dropouts, pairwise(shards.tolist()), strict=True):
        here = offsets[first : last + 1]
        part = slice(int(here[0]), int(here[-1]))
        alone.append(both(part, here - here[0], Setting(0.3, False, (dropout,))))
    for found, parts in zip(whole, zip(*alone, strict=True), strict=True):
        assert torch.equal(found, torch.cat(parts))


def test_they_compose_with_pytorch() -> None:
    x, starts = numbers(0, 6, 8), torch.tensor([0, 2, 6])
    torch.library.opcheck(torch.ops.retort.sum_of_products.default, (x.t(), x, starts, False))
    torch.library.opcheck(torch.ops.retort.sum_of_rows.default, (x, starts))
    left, right, bias, weight = (
        numbers(seed, *size).requires_grad_()
        for seed, size in enumerate([(6, 8), (8, 3), (3,), (8,)])
    )
    torch.library.opcheck(torch.ops.retort.matmul.default, (left, right, bias, True, starts))
    arguments = (left, weight, None, 1e-5, starts)
    torch.library.opcheck(torch.ops.retort.norm.default, arguments, {"centred": True})
    ids = torch.tensor([3, 0, 3, 5, 3, 1])
    torch.library.opcheck(torch.ops.retort.embedding.default, (left, ids, starts))


@pytest.mark.parametrize(
    ("starts", "words"),
    [
        (torch.tensor([0, 2]), "from 0 to 3"),
        (torch.tensor([0, 2, 1, 3]), "from 0 to 3"),
        (torch.tensor([0]), "from 0 to 3"),
        (torch.tensor([0.0, 3.0]), "int64"),
        (torch.tensor([0] * 257 + [3]), "from 1 to 256 shards"),
    ],
)
def test_other_shards_are_refused(starts: Tensor, words: str) -> None:
    x = torch.zeros(3, 2)
    for call in (
        lambda: sum_of_products(x.t(), x, starts),
        lambda: sum_of_rows(x, starts),
        lambda: touched(x, torch.zeros(3, dtype=torch.int64), starts),
    ):
        with pytest.raises(ValueError, match=words):
            call()


def test_factors_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="left has 2 columns, and right 3 rows"):
        sum_of_products(torch.zeros(3, 2), torch.zeros(3, 2), torch.tensor([0, 2]))
