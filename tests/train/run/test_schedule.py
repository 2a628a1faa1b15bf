"""The learning rate: up, then down, never zero."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retort.train.recipe import ScheduleConfig
from retort.train.run.schedule import learning_rate

DECAYS = st.sampled_from(["linear", "cosine", "none"])


@settings(deadline=None)
@given(DECAYS, st.floats(0.0, 0.99), st.integers(1, 300), st.floats(1e-8, 10.0))
def test_the_rate_rises_to_its_peak_and_then_falls(
    decay: str, warmup: float, steps: int, peak: float
) -> None:
    config = ScheduleConfig.model_validate({"warmup": warmup, "decay": decay})
    rates = [learning_rate(config, peak, step, steps) for step in range(steps)]
    top = rates.index(max(rates))
    assert all(0.0 < rate <= peak * (1 + 1e-12) for rate in rates)
    assert rates[:top] == sorted(rates[:top])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    if round(warmup * steps) < steps:
        assert max(rates) == pytest.approx(peak)


def test_rates_of_a_short_run_are_those_worked_out_by_hand() -> None:
    config = ScheduleConfig(warmup=0.25, decay="linear")
    rates = [learning_rate(config, 6.0, step, 8) for step in range(8)]
    assert rates == pytest.approx([2.0, 4.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0])
    cosine = ScheduleConfig(warmup=0.0, decay="cosine")
    assert [learning_rate(cosine, 4.0, step, 4) for step in range(4)] == pytest.approx(
        [4.0, 2.0 + 2**0.5, 2.0, 2.0 - 2**0.5]
    )
    constant = ScheduleConfig(warmup=0.0, decay="none")
    assert {learning_rate(constant, 4.0, step, 4) for step in range(4)} == {4.0}
