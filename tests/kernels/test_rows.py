"""Softmax, cross-entropy and embeddings have the bits of the reference, and are those of PyTorch but for rounding."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from retort.kernels.embeddings import embedding, summed, sums, touched
from retort.kernels.library import Kernels, usable
from retort.kernels.rows import (
    cross_entropy,
    losses,
    losses_gradient,
    softmax,
    softmax_gradient,
    softmaxed,
)
from tests.kernels import functions, reference
from tests.kernels.drawn import LAID, numbers

BY = pytest.mark.parametrize("by", usable(), ids=lambda one: one.instructions)


def drawn_targets(m: int, n: int, *, left_out: bool) -> Tensor:
    drawn = torch.Generator().manual_seed(m)
    targets = torch.randint(n, (m,), generator=drawn)
    return torch.where(torch.rand(m, generator=drawn) < 0.2, -100, targets) if left_out else targets


@BY
@settings(max_examples=25)
@given(
    shape=st.tuples(st.integers(0, 40), st.integers(1, 70)),
    special=st.sampled_from([0.0, 0.01]),
    laid=LAID,
    asked=st.tuples(st.booleans(), st.sampled_from([0.0, 0.1, 1.0]), st.booleans()),
    threads=st.integers(1, 3),
)
def test_rows_have_the_bits_of_the_reference(
    by: Kernels,
    *,
    shape: tuple[int, int],
    special: float,
    laid: Callable[[Tensor], Tensor],
    asked: tuple[bool, float, bool],
    threads: int,
) -> None:
    (m, n), (weighted, smoothing, left_out) = shape, asked
    x, above = numbers(m, m, n, special=special) / 100, numbers(n, m)
    targets = drawn_targets(m, n, left_out=left_out)
    weights = numbers(3, n).abs() if weighted else None
    plain_weights = None if weights is None else weights.numpy()
    shares = functions.softmax(x.numpy())
    assert reference.same(softmax(laid(x), threads, by), shares)
    by_shares = numbers(4, m, n)
    gradient = softmax_gradient(by_shares, torch.from_numpy(shares), threads, by)
    assert reference.same(gradient, functions.softmax_gradient(by_shares.numpy(), shares))
    found, *rest = losses(laid(x), targets, weights, smoothing, threads=threads, by=by)
    told = functions.cross_entropy(x.numpy(), targets.numpy(), plain_weights, smoothing)
    assert reference.same(found, told)
    gradient = losses_gradient(
        *(above, laid(x), targets, weights, (rest[0], rest[1])),
        smoothing=smoothing,
        threads=threads,
        by=by,
    )
    told = functions.cross_entropy_gradient(
        above.numpy(), x.numpy(), targets.numpy(), plain_weights, smoothing
    )
    assert reference.same(gradient, told)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_is_that_of_pytorch_with_its_gradient(
    weighted: bool, smoothing: float
) -> None:
    drawn = torch.Generator().manual_seed(0)
    x, above = 5 * torch.randn(50, 33, generator=drawn), torch.randn(50, generator=drawn)
    targets = drawn_targets(50, 33, left_out=True)
    weights = torch.rand(33, generator=drawn) if weighted else None
    ours, theirs = x.clone().requires_grad_(), x.double().requires_grad_()
    found = cross_entropy(ours, targets, weights, smoothing)
    exact = functional.cross_entropy(
        *(theirs, targets, None if weights is None else weights.double()),
        label_smoothing=smoothing,
        reduction="none",
    )
    torch.autograd.backward([found, exact], [above, above.double()])
    assert ours.grad is not None
    assert theirs.grad is not None
    assert torch.allclose(found.double(), exact, atol=1e-5)
    assert torch.allclose(ours.grad.double(), theirs.grad, atol=1e-6)
    one, other = x.clone().requires_grad_(), x.double().requires_grad_()
    shares, exact = softmaxed(one), other.softmax(1)
    torch.autograd.backward([shares, exact], [x, x.double()])
    assert torch.allclose(shares.double(), exact, atol=1e-6)
    assert one.grad is not None
    assert other.grad is not None
    assert torch.allclose(one.grad.double(), other.grad, atol=1e-5)


@BY
@settings(max_examples=20)
@given(
    size=st.tuples(st.integers(0, 60), st.integers(1, 40), st.integers(1, 9)),
    laid=LAID,
    threads=st.integers(1, 3),
)
def test_rows_touched_have_the_bits_of_the_reference(
    by: Kernels,
    *,
    size: tuple[int, int, int],
    laid: Callable[[Tensor], Tensor],
    threads: int,
) -> None:
    m, n, count = size
    above = numbers(0, m, n, special=0.01)
    ids = torch.randint(count, (m,), generator=torch.Generator().manual_seed(m))
    taken, sums = touched(laid(above), ids, None, threads, by)
    assert taken.tolist() == sorted(set(ids.tolist()))
    for row, one in zip(sums, taken, strict=True):
        told = np.zeros(n, np.float32)
        with np.errstate(all="ignore"):
            for number in (ids == one).nonzero()[:, 0]:
                told = told + above[number].numpy()
        assert reference.same(row, told)


@BY
def test_sums_of_sequences_have_the_bits_of_a_chain_and_their_gradient(by: Kernels) -> None:
    x, offsets = numbers(0, 9, 21), torch.tensor([0, 4, 4, 9])
    told = [
        np.add.accumulate(np.vstack([np.zeros((1, 21), np.float32), x[a:b].numpy()]))[-1]
        for a, b in ((0, 4), (4, 4), (4, 9))
    ]
    assert reference.same(sums(x, offsets, 2, by), np.stack(told))
    leaf, above = x.clone().requires_grad_(), numbers(1, 3, 21)
    torch.autograd.backward(summed(leaf, offsets), above)
    assert leaf.grad is not None
    assert torch.equal(leaf.grad, above[[0] * 4 + [2] * 5])


def test_an_embedding_is_that_of_pytorch_with_its_gradient() -> None:
    table, above = numbers(0, 7, 5), torch.ones(2, 5)
    ids = torch.tensor([6, 6])
    ours, theirs = (table.clone().requires_grad_() for _ in range(2))
    found, exact = embedding(ours, ids), functional.embedding(ids, theirs)
    torch.autograd.backward([found, exact], [above, above])
    assert torch.equal(found, exact)
    assert ours.grad is not None
    assert theirs.grad is not None
    assert torch.equal(ours.grad, theirs.grad)


def test_they_compose_with_pytorch() -> None:
    x, targets = numbers(0, 4, 8).requires_grad_(), torch.tensor([0, 7, -1, 3])
    weights = torch.ones(8)
    torch.library.opcheck(torch.ops.retort.cross_entropy.default, (x, targets, weights, 0.1))
    torch.library.opcheck(torch.ops.retort.embedding.default, (x, torch.tensor([3, 0, 3])))
    torch.library.opcheck(torch.ops.retort.sums.default, (x, torch.tensor([0, 1, 4])))
    torch.library.opcheck(torch.ops.retort.softmax.default, (x,))


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (lambda: softmax(torch.zeros(2, 0)), "rows without a number"),
        (lambda: losses(torch.zeros(2, 3), torch.tensor([0])), "there are 1 targets, and 2 rows"),
        (lambda: losses(torch.zeros(1, 3), torch.tensor([3])), "a target is 3, and a row has 3"),
        (lambda: losses(torch.zeros(1, 3), torch.tensor([0.0])), "targets is torch.float32"),
        (
            lambda: losses(torch.zeros(1, 3), torch.tensor([0]), torch.zeros(2)),
            "weights has 2 elements in a row; give 3",
        ),
        (
            lambda: losses(torch.zeros(1, 3), torch.tensor([0]), None, 2.0),
            "smoothing is from 0 to 1",
        ),
        (lambda: embedding(torch.zeros(3, 2), torch.tensor([3])), "ids are from 3 to 3, .* 3 rows"),
        (
            lambda: sums(torch.zeros(3, 2), torch.tensor([0, 2])),
            "offsets do not ascend from 0 to 3",
        ),
        (
            lambda: softmax_gradient(torch.zeros(2, 2), torch.zeros(1, 2)),
            "above has 2 rows, and p 1",
        ),
        (lambda: touched(torch.zeros(3, 2), torch.tensor([3])), "there are 1 ids, and 3 rows"),
    ],
)
def test_what_does_not_fit_is_refused(asked: Callable[[], object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        asked()
