"""Divergence: which steps stop a run, what is said of them, and that a resumed run judges the same."""

import json
import math
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retort.train.observe.step import Step
from retort.train.recipe import DivergenceConfig
from retort.train.run.divergence import DivergenceGuard, TrainingStopped


def step(number: int, *losses: float, norm: float = 1.0) -> Step:
    return Step(number, sum(losses), losses, 3e-5, norm, samples=8, tokens=80)


def stopped(guard: DivergenceGuard, wrong: Step) -> TrainingStopped:
    with pytest.raises(TrainingStopped) as caught:
        guard.judge(wrong)
    return caught.value


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_number_names_step_shard_and_what_to_try(loss: float) -> None:
    error = stopped(DivergenceGuard(DivergenceConfig()), step(17, 0.1, 0.2, loss, 0.1))
    assert error.fault.shards == (2,)
    assert error.exit_code == 1
    assert str(error) == (
        f"step 17: the loss of shard 2 is {loss} (learning rate 3e-05); the same recipe comes to "
        "the same step again: lower optimizer.lr, lengthen schedule.warmup, or mend the documents, "
        "as a new run"
    )


def test_all_shards_at_fault_are_named() -> None:
    error = stopped(DivergenceGuard(DivergenceConfig()), step(3, math.nan, 0.1, math.inf))
    assert error.fault.shards == (0, 2)
    assert "the loss of shards 0, 2 is nan, inf" in str(error)


def test_a_gradient_that_overflows_stops_too_and_any_shard_may_be_the_cause() -> None:
    error = stopped(DivergenceGuard(DivergenceConfig()), step(4, 0.1, 0.2, norm=math.inf))
    assert error.fault.shards == (0, 1)
    assert "the loss is 0.3, and its gradient's norm inf" in str(error)


def test_finite_losses_with_an_infinite_sum_stop_too() -> None:
    error = stopped(DivergenceGuard(DivergenceConfig()), step(5, 1.5e308, 1.5e308))
    assert "their sum is inf" in str(error)


def test_a_spike_stops_once_there_is_a_past_to_judge_by() -> None:
    guard = DivergenceGuard(DivergenceConfig(spike=3.0, window=5))
    for number in range(1, 5):
        guard.judge(step(number, 0.5, 0.5))
    guard.judge(step(5, 5.0, 5.0))  # four losses are not a past of five
    guard.judge(step(6, 1.5, 1.5))  # at the limit, not over it
    error = stopped(guard, step(7, 0.5, 3.0))
    assert error.fault.shards == (1,)
    assert "the loss is 3.5, over 3 times 1, the median of the last 5, most of it from shard 1" in (
        str(error)
    )


def test_without_a_limit_no_finite_loss_stops_a_run() -> None:
    guard = DivergenceGuard(DivergenceConfig(window=5))
    for number in range(1, 20):
        guard.judge(step(number, 10.0**number))


def test_a_spike_above_losses_of_zero_names_a_shard() -> None:
    guard = DivergenceGuard(DivergenceConfig(spike=2.0, window=5))
    for number in range(1, 6):
        guard.judge(step(number, 0.0, 0.0))
    assert stopped(guard, step(6, 0.0, 1e-3)).fault.shards == (1,)


@given(seed=st.integers(0, 2**32), done=st.integers(0, 60))
def test_a_resumed_run_stops_at_the_same_step(seed: int, done: int) -> None:
    chance = random.Random(seed)
    steps = [step(number, chance.expovariate(1.0)) for number in range(1, 61)]
    config = DivergenceConfig(spike=2.5, window=7)

    def first_stop(guard: DivergenceGuard, from_step: int) -> int | None:
        for one in steps[from_step:]:
            try:
                guard.judge(one)
            except TrainingStopped:
                return one.number
        return None

    whole = first_stop(DivergenceGuard(config), 0)
    before = DivergenceGuard(config)
    if whole is not None:
        done = min(done, whole - 1)
    for one in steps[:done]:
        before.judge(one)
    resumed = DivergenceGuard(config, json.loads(json.dumps(before.state())))
    assert first_stop(resumed, done) == whole


def test_the_state_is_what_the_window_holds() -> None:
    guard = DivergenceGuard(DivergenceConfig(window=5))
    for number in range(1, 9):
        guard.judge(replace(step(number, 0.1), loss=number / 10))
    assert guard.state() == [0.4, 0.5, 0.6, 0.7, 0.8]
