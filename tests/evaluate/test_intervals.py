"""Intervals, held to published tables."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retort.evaluate.intervals import student_interval, wilson_interval


@pytest.mark.parametrize(
    ("right", "total", "expected"),
    # Newcombe, "Two-sided confidence intervals for the single proportion", 1998, table I, method 3.
    [(81, 263, (0.2553, 0.3662)), (15, 148, (0.0624, 0.1605)), (0, 20, (0.0, 0.1611))],
)
def test_the_interval_of_a_share_is_the_published_one(
    right: int, total: int, expected: tuple[float, float]
) -> None:
    assert wilson_interval(right, total) == pytest.approx(expected, abs=5e-5)


@pytest.mark.parametrize(
    ("count", "quantile"),
    # NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.6.7.2, column 0.975; -1 degree of freedom.
    [(2, 12.706), (3, 4.303), (4, 3.182), (5, 2.776), (6, 2.571), (11, 2.228), (31, 2.042)],
)
def test_the_interval_of_a_mean_uses_the_published_quantile(count: int, quantile: float) -> None:
    values = [float(number) for number in range(count)]
    low, high = student_interval(values)
    mean = (count - 1) / 2
    deviation = math.sqrt(sum((value - mean) ** 2 for value in values) / (count - 1))
    half = quantile * deviation / math.sqrt(count)
    assert (low, high) == pytest.approx((mean - half, mean + half), abs=1e-3)


@given(st.floats(-1e3, 1e3), st.integers(2, 40))
def test_the_mean_of_equal_values_is_certain(value: float, count: int) -> None:
    assert student_interval([value] * count) == pytest.approx((value, value))
