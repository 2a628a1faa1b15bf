"""Functions, dropout and AdamW have the bits of the reference, and are those of PyTorch but for rounding."""

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from retort.kernels.elementwise import (
    FUNCTIONS,
    Dropout,
    apply,
    apply_gradient,
    drop,
    dropout_at,
    dropped,
    gelu,
    key_of,
    normal,
    silu,
)
from retort.kernels.library import Kernels, usable
from retort.kernels.optimizer import AdamW, adamw, power, squares
from retort.kernels.rotary import rotate, rotated, tables
from tests.kernels import functions, reference
from tests.kernels.drawn import LAID, error_in_units, numbers

BY = pytest.mark.parametrize("by", usable(), ids=lambda one: one.instructions)
WITH_GRADIENT = ("gelu", "gelu_tanh", "silu")
EXACT = {"exp": torch.exp, "log": torch.log, "erf": torch.erf, "tanh": torch.tanh}
EVERY = 65_537
"""Of all float32, one in so many; `test_every_float.py` takes them all."""


def some_of_all_floats(every: int) -> Tensor:
    return torch.arange(-(2**31), 2**31, every).to(torch.int32).view(torch.float32)


@BY
@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_has_the_bits_of_the_reference(function: str, by: Kernels) -> None:
    x = some_of_all_floats(EVERY)
    assert reference.same(apply(function, x, 2, by), functions.FUNCTIONS[function](x.numpy()))
    near = numbers(1, 999, special=0.02)
    assert reference.same(apply(function, near, 1, by), functions.FUNCTIONS[function](near.numpy()))
    if function in WITH_GRADIENT:
        for some in (x, near):
            above = numbers(2, len(some))
            told = functions.gradient(function, above.numpy(), some.numpy())
            assert reference.same(apply_gradient(function, above, some, 2, by), told)


@pytest.mark.parametrize("function", EXACT)
def test_a_function_is_within_two_units_of_the_last_place(function: str) -> None:
    """The arguments are other ones than those by which the bits are compared."""
    x = some_of_all_floats(EVERY - 2)
    assert error_in_units(apply(function, x), EXACT[function](x.double())) < 2


@pytest.mark.parametrize("kind", ["gelu", "gelu, by tanh", "silu"])
def test_activations_are_those_of_pytorch_with_their_gradients(kind: str) -> None:
    x, above = (
        3 * torch.randn(5, 41, generator=torch.Generator().manual_seed(one)) for one in (0, 1)
    )
    ours: Callable[[Tensor], Tensor] = silu
    theirs: Callable[[Tensor], Tensor] = torch.nn.functional.silu
    if kind != "silu":
        way = "tanh" if kind.endswith("tanh") else "none"
        ours = lambda one: gelu(one, way)  # noqa: E731
        theirs = lambda one: torch.nn.functional.gelu(one, approximate=way)  # noqa: E731
    one, other = x.clone().requires_grad_(), x.double().requires_grad_()
    found, exact = ours(one), theirs(other)
    torch.autograd.backward([found, exact], [above, above.double()])
    assert one.grad is not None
    assert other.grad is not None
    assert torch.allclose(found.double(), exact, atol=1e-6)
    assert torch.allclose(one.grad.double(), other.grad, atol=1e-5)


@BY
@settings(max_examples=20)
@given(
    size=st.one_of(st.integers(0, 300), st.sampled_from([4096, 5000])),
    first=st.one_of(st.integers(0, 5000), st.sampled_from([2**35 + 5])),
    place=st.tuples(st.integers(0, 2**40), st.sampled_from([0.0, 1e-9, 0.1, 0.5, 0.999999])),
    threads=st.integers(1, 3),
)
def test_dropout_has_the_bits_of_the_reference(
    by: Kernels, *, size: int, first: int, place: tuple[int, float], threads: int
) -> None:
    x, dropout = numbers(size, size, special=0.01), dropout_at(place[1], place[0], "here")
    told = functions.dropout(x.numpy(), dropout.key, dropout.below, first)
    assert reference.same(drop(x, dropout, first, threads, by), told)


def test_philox_is_that_of_its_authors() -> None:
    """The known answers that are published with Random123."""
    ones = 0xFFFFFFFF
    for counter, key, told in (
        ((0, 0, 0, 0), 0, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((ones,) * 4, (ones << 32) + ones, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0x299F31D0 << 32) + 0xA4093822,
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ):
        halves = functions.decisions(key, np.array(counter, np.uint32)).tolist()
        assert (
            tuple(low + (high << 16) for low, high in zip(halves[::2], halves[1::2], strict=True))
            == told
        )


def test_dropout_in_parts_drops_as_in_the_whole_and_as_often_as_asked() -> None:
    x, dropout = torch.ones(300, 384), dropout_at(0.1, 7, 3, 0, 2, "output")
    whole = drop(x, dropout)
    for cut in (1, 100, 299):
        parts = [drop(x[:cut], dropout), drop(x[cut:], dropout, first=cut * 384)]
        assert torch.equal(torch.cat(parts), whole)
    kept = (whole > 0).double()
    assert set(whole.flatten().tolist()) == {0.0, torch.tensor(dropout.scale).item()}
    deviation = math.sqrt(0.1 * 0.9 / x.numel())
    assert abs(1 - kept.mean().item() - 0.1) < 5 * deviation
    for other in ((7, 3, 0, 2, "attention"), (7, 4, 0, 2, "output"), (8, 3, 0, 2, "output")):
        agree = ((drop(x, dropout_at(0.1, *other)) > 0) == (whole > 0)).double().mean().item()
        assert abs(agree - 0.82) < 0.01, "as of two that have nothing to do with each other"
    leaf = x.clone().requires_grad_()
    torch.autograd.backward(dropped(leaf, [dropout]).sum())
    assert leaf.grad is not None
    assert torch.equal(leaf.grad, whole)


@BY
@settings(max_examples=10)
@given(size=st.integers(0, 5000), key=st.integers(-(2**63), 2**63 - 1), threads=st.integers(1, 3))
def test_normal_numbers_have_the_bits_of_the_reference(
    by: Kernels, *, size: int, key: int, threads: int
) -> None:
    assert reference.same(normal([size], key, threads, by), functions.normal(size, key))


def test_normal_numbers_are_normal_and_each_has_its_own_place() -> None:
    drawn = normal([1000, 1000], key_of(1, "weights")).double().flatten()
    expected = torch.distributions.Normal(0.0, 1.0)
    ranked = expected.cdf(drawn.sort().values)  # type: ignore[no-untyped-call]
    furthest = (ranked - torch.linspace(0, 1, len(drawn), dtype=torch.float64)).abs().max().item()
    assert furthest < 1.95 / len(drawn) ** 0.5, "Kolmogorov and Smirnov, one in a thousand"
    assert abs((drawn[1:] * drawn[:-1]).mean().item()) < 0.005
    assert torch.equal(normal([77], key_of(1, "weights")).double(), drawn[:77])
    assert not torch.equal(normal([77], key_of(2, "weights")).double(), drawn[:77])


@BY
@settings(max_examples=10)
@given(size=st.integers(0, 5000), step=st.integers(1, 2000), threads=st.integers(1, 3))
def test_adamw_has_the_bits_of_the_reference(
    by: Kernels, *, size: int, step: int, threads: int
) -> None:
    weight, gradient, first, second = (numbers(size + one, size) for one in range(4))
    second = second.abs()
    given_numbers = AdamW(3e-4, (0.9, 0.999), 1e-8, 0.01, step, 0.37)
    factor, decayed, by_step, by_gradient, kept, by_square, root, eps = (
        np.float32(one) for one in given_numbers.numbers()
    )
    w, g, m, v = (one.numpy() for one in (weight, gradient, first, second))
    every = np.ones(size, np.float32)
    g = (g * factor).astype(np.float32)
    m = reference.fma(g - m, every * by_gradient, m)
    v = reference.fma(g * by_square, g, v * kept)
    slope = (m / (np.sqrt(v) / root + eps)).astype(np.float32)
    w = reference.fma(slope, every * -by_step, w * decayed)
    adamw(weight, gradient, (first, second), given_numbers, threads=threads, by=by)
    assert reference.same(weight, w)
    assert reference.same(first, m)
    assert reference.same(second, v)


def test_adamw_is_that_of_pytorch() -> None:
    drawn = torch.Generator().manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(1000, generator=drawn))
    ours, moments = weight.detach().clone(), (torch.zeros(1000), torch.zeros(1000))
    theirs = torch.optim.AdamW([weight], lr=1e-2, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.1)
    for step in range(1, 30):
        weight.grad = torch.randn(1000, generator=drawn)
        gradient = weight.grad.clone()
        theirs.step()
        adamw(ours, gradient, moments, AdamW(1e-2, (0.9, 0.99), 1e-8, 0.1, step))
    assert torch.allclose(ours, weight, rtol=1e-5, atol=1e-6)


def test_a_power_is_that_of_the_c_library_but_for_rounding() -> None:
    for base in (0.9, 0.999):
        for exponent in (0, 1, 2, 3, 1000, 123_456):
            assert math.isclose(
                power(base, exponent), base**exponent, rel_tol=1e-11, abs_tol=1e-300
            )


@BY
@settings(max_examples=20)
@given(sizes=st.lists(st.integers(0, 200), max_size=5), threads=st.integers(1, 3))
def test_sums_of_squares_have_the_bits_of_the_reference(
    by: Kernels, *, sizes: list[int], threads: int
) -> None:
    starts = torch.tensor([0, *np.cumsum(sizes)], dtype=torch.int64)
    x = numbers(0, int(starts[-1]) + 3)
    told = [functions.squares(x[a:b].numpy()) for a, b in pairwise(starts.tolist())]
    found = squares(x, starts, threads, by)
    assert found.dtype == torch.float64
    assert found.numpy().tobytes() == np.array(told, np.float64).tobytes()


@BY
@settings(max_examples=20)
@given(
    shape=st.tuples(st.integers(0, 20), st.integers(1, 3), st.integers(1, 20)),
    laid=LAID,
    threads=st.integers(1, 3),
)
def test_rotary_positions_have_the_bits_of_the_reference(
    by: Kernels,
    *,
    shape: tuple[int, int, int],
    laid: Callable[[Tensor], Tensor],
    threads: int,
) -> None:
    tokens, heads, half = shape
    x = laid(numbers(0, tokens, heads * 2 * half, special=0.01)).reshape(tokens, heads, 2 * half)
    positions = torch.randint(50, (tokens,), generator=torch.Generator().manual_seed(1))
    by_tables = tables(50, half, 10_000.0)
    cosines, sines = (one[positions].numpy() for one in (by_tables.cosines, by_tables.sines))
    told = functions.rotary(x.numpy(), cosines, sines)
    assert reference.same(rotate(x, positions, by_tables, threads=threads, by=by), told)
    told = functions.rotary(x.numpy(), cosines, -sines)
    assert reference.same(rotate(x, positions, by_tables, back=True, threads=threads, by=by), told)


def test_tables_are_within_one_rounding_of_the_exact_angles() -> None:
    by_tables = tables(5000, 32, 10_000.0)
    frequencies = (10_000.0 ** (-torch.arange(32, dtype=torch.float64) / 32)).float()
    angles = (torch.arange(5000).float()[:, None] * frequencies).double()
    assert error_in_units(by_tables.cosines, angles.cos()) < 0.501
    assert error_in_units(by_tables.sines, angles.sin()) < 0.501


def test_they_compose_with_pytorch() -> None:
    x = numbers(0, 3, 8).requires_grad_()
    by_tables = tables(4, 4, 10_000.0)
    torch.library.opcheck(torch.ops.retort.apply.default, ("gelu", x))
    for keys, shards in (([5], None), ([5, 6], torch.tensor([0, 1, 3]))):
        torch.library.opcheck(torch.ops.retort.dropout.default, (x, 1000, keys, shards))
    head, places = x.detach()[:, None].requires_grad_(), torch.arange(3)
    arguments = (head, places, by_tables.cosines, by_tables.sines, False)
    torch.library.opcheck(torch.ops.retort.rotary.default, arguments)
    torch.autograd.backward(rotated(head, places, by_tables).sum())
    assert head.grad is not None
    there_and_back = rotate(head.grad, places, by_tables)
    assert torch.allclose(there_and_back, torch.ones(3, 1, 8), atol=1e-6)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (lambda: apply("gelu", torch.zeros(2).double()), "x is torch.float64"),
        (lambda: apply("cosh", torch.zeros(2)), "not in tuple"),
        (lambda: apply_gradient("exp", torch.zeros(2), torch.zeros(2)), "exp has no gradient here"),
        (lambda: apply_gradient("silu", torch.zeros(2), torch.zeros(3)), "above has the shape"),
        (lambda: dropout_at(1.0, 0), "from 0 to below 1"),
        (lambda: drop(torch.zeros(2), Dropout(1, 1), -1), "an element's number is not -1"),
        (
            lambda: rotate(torch.zeros(1, 1, 8), torch.tensor([4]), tables(4, 4, 10.0)),
            "positions are from 4 to 4, and the model has 4",
        ),
        (
            lambda: adamw(
                *(torch.zeros(4)[::2], torch.zeros(2), (torch.zeros(2), torch.zeros(2))),
                AdamW(1e-3, (0.9, 0.99), 1e-8, 0.0, 1),
            ),
            "weight is not contiguous",
        ),
        (lambda: squares(torch.zeros(2), torch.tensor([0, 3])), "blocks do not ascend"),
    ],
)
def test_what_does_not_fit_is_refused(asked: Callable[[], object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        asked()
