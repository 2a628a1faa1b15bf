"""AdamW on slices: what PyTorch's does with whole parameters, to the last bit."""

from collections.abc import Sequence
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from retort.models.parameters import ParameterGroup
from retort.train.engines.contract.layout import FlatLayout
from retort.train.engines.contract.sliced_adamw import SlicedAdamW

BLOCK, STEPS = 64, 4
BETAS, EPS = (0.8, 0.95), 1e-6
SIZES = {"head": 3, "matrix": 333, "norm": 17, "embedding": 401, "bias": 1}
GROUPS = [
    ParameterGroup(("embedding",), lr_scale=0.25, weight_decay=0.1),
    ParameterGroup(("head", "matrix"), lr_scale=1.0, weight_decay=0.1),
    ParameterGroup(("norm", "bias"), lr_scale=1.0, weight_decay=0.0),
]
RATES = (1e-2, 3e-2, 2e-2, 5e-3)
DIVISORS = (1.0, 2.5, 1.0, 1.0000001)
LAYOUT = FlatLayout.of(SIZES, BLOCK)
LENGTH = LAYOUT.blocks * BLOCK


def start() -> Tensor:
    weights = torch.zeros(LENGTH + 8 * BLOCK)
    random = torch.Generator().manual_seed(1)
    for slot in LAYOUT.slots:
        weights[slot.start : slot.end] = torch.randn(slot.size, generator=random)
    return weights


def gradient(step: int) -> Tensor:
    random = torch.Generator().manual_seed(10 + step)
    return torch.randn(LENGTH + 8 * BLOCK, generator=random)


@cache
def whole(fused: bool = True) -> dict[str, Tensor]:
    """Weights and moments by PyTorch alone, each parameter in one piece."""
    flat = start()
    slots = {slot.name: slot for slot in LAYOUT.slots}
    weights = {name: flat[one.start : one.end].clone() for name, one in slots.items()}
    groups = [
        {
            "params": [weights[name] for name in group.names],
            "weight_decay": group.weight_decay,
            "scale": group.lr_scale,
        }
        for group in GROUPS
    ]
    optimizer = torch.optim.AdamW(groups, betas=BETAS, eps=EPS, fused=fused)
    for step in range(STEPS):
        flat = gradient(step)
        for name, one in slots.items():
            weights[name].grad = flat[one.start : one.end] / torch.tensor(DIVISORS[step])
        for group in optimizer.param_groups:
            group["lr"] = RATES[step] * group["scale"]
        optimizer.step()
    found = {f"model/{name}": one for name, one in weights.items()}
    for name, weight in weights.items():
        for moment in ("exp_avg", "exp_avg_sq"):
            found[f"optimizer/{moment}.{name}"] = optimizer.state[weight][moment]
    return found


def open_slices(weights: Tensor, slices: Sequence[range]) -> SlicedAdamW:
    return SlicedAdamW(
        [weights[one.start : one.stop] for one in slices],
        LAYOUT,
        slices,
        GROUPS,
        betas=BETAS,
        eps=EPS,
    )


def advance(adamw: SlicedAdamW, slices: Sequence[range], steps: range) -> None:
    for step in steps:
        flat = gradient(step)
        gradients = [flat[owned.start : owned.stop].clone() for owned in slices]
        adamw.step(gradients, RATES[step], DIVISORS[step])


def joined(ranks: Sequence[SlicedAdamW]) -> dict[str, Tensor]:
    """The slices of all ranks, put together; what none gave is not a number."""
    found: dict[str, Tensor] = {}
    given = 0
    for adamw in ranks:
        for part in adamw.slices():
            name = part.name.removeprefix("exp_avg.").removeprefix("exp_avg_sq.")
            key = f"{part.file}/{part.name}"
            values = found.setdefault(key, torch.full((SIZES[name],), float("nan")))
            values[part.offset : part.offset + len(part.values)] = part.values
            given += len(part.values)
    assert given == 3 * sum(SIZES.values()), "each element comes once"
    return found


def slices_of(world: int, elements: int) -> list[list[range]]:
    buckets = LAYOUT.buckets(world, elements)
    return [[bucket.slice_of(rank, world) for bucket in buckets] for rank in range(world)]


def assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert torch.equal(found[name], values), name


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 8), st.integers(1, 1000))
def test_any_slices_give_the_bits_of_whole_parameters(world: int, elements: int) -> None:
    weights, every = start(), slices_of(world, elements)
    ranks = [open_slices(weights, slices) for slices in every]
    for adamw, slices in zip(ranks, every, strict=True):
        advance(adamw, slices, range(STEPS))
    assert_equal(joined(ranks), whole())


def test_pytorchs_other_adamw_agrees_but_for_the_last_bits() -> None:
    found, plain = whole(), whole(fused=False)
    for name, values in plain.items():
        torch.testing.assert_close(found[name], values, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("half", [1, 2, 3])
def test_restored_moments_go_on_as_if_there_had_been_no_interruption(half: int) -> None:
    weights, (before,) = start(), slices_of(1, 10_000)
    first = open_slices(weights, before)
    advance(first, before, range(half))
    state = {name: values.clone() for name, values in joined([first]).items()}

    weights, after = weights.clone(), slices_of(3, 100)
    ranks = [open_slices(weights, slices) for slices in after]
    for adamw, slices in zip(ranks, after, strict=True):
        for name in SIZES:
            one, two = (state[f"optimizer/{each}.{name}"] for each in ("exp_avg", "exp_avg_sq"))
            adamw.restore(name, one, two, half)
        advance(adamw, slices, range(half, STEPS))
    assert_equal(joined(ranks), whole())


def test_a_restored_step_counts() -> None:
    weights, (slices,) = start(), slices_of(1, 10_000)
    adamw = open_slices(weights, slices)
    for name, size in SIZES.items():
        adamw.restore(name, torch.zeros(size), torch.zeros(size), 5)
    advance(adamw, slices, range(1))
    fresh = start()
    advance(open_slices(fresh, slices), slices, range(1))
    assert not torch.equal(weights, fresh), "early steps are corrected for empty moments"


def test_restored_moments_are_copies() -> None:
    weights, (slices,) = start(), slices_of(1, 10_000)
    adamw = open_slices(weights, slices)
    moments = {name: (torch.ones(size), torch.ones(size)) for name, size in SIZES.items()}
    for name, (one, two) in moments.items():
        adamw.restore(name, one, two, 1)
    advance(adamw, slices, range(1))
    assert all(bool((each == 1.0).all()) for pair in moments.values() for each in pair)


def test_moments_are_zero_before_the_first_step() -> None:
    weights, (slices,) = start(), slices_of(1, 10_000)
    found = joined([open_slices(weights, slices)])
    assert all(
        bool((values == 0.0).all()) == name.startswith("optimizer/")
        for name, values in found.items()
    )


def test_what_lies_between_parameters_stays_zero() -> None:
    weights, (slices,) = start(), slices_of(1, 10_000)
    advance(open_slices(weights, slices), slices, range(STEPS))
    for slot in LAYOUT.slots:
        weights[slot.start : slot.end] = 0.0
    assert weights.count_nonzero() == 0


def test_a_rank_without_a_parameter_has_nothing_to_do() -> None:
    weights, slices = start(), [range(LENGTH, LENGTH + BLOCK)]
    adamw = open_slices(weights, slices)
    advance(adamw, slices, range(1))
    adamw.restore("head", torch.zeros(3), torch.zeros(3), 1)
    assert list(adamw.slices()) == []
    assert torch.equal(weights, start())
