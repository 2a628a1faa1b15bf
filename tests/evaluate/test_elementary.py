"""Exponential and logarithm: near the C library's, and the same bits on every machine."""

import hashlib
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax as scipys  # type: ignore[import-untyped]

from retort.evaluate.elementary import exp, log, log_softmax


@given(st.floats(-746.0, 709.5))
def test_exp_is_the_c_librarys_within_2_ulp(value: float) -> None:
    wanted = math.exp(value)
    assert abs(exp(np.array([value]))[0] - wanted) <= 2 * math.ulp(wanted)


@given(st.floats(min_value=0.0, exclude_min=True, allow_infinity=False))
def test_log_is_the_c_librarys_within_2_ulp(value: float) -> None:
    wanted = math.log(value)
    assert abs(log(np.array([value]))[0] - wanted) <= 2 * math.ulp(wanted)


def test_beyond_numbers_they_are_what_ieee_754_says() -> None:
    odd = np.array([0.0, -0.0, math.inf, -math.inf, math.nan, -1.0, 1000.0, -1000.0])
    with np.errstate(all="raise"):
        np.testing.assert_array_equal(
            exp(odd[[0, 2, 3, 4, 6, 7]]), [1, np.inf, 0, np.nan, np.inf, 0]
        )
        np.testing.assert_array_equal(
            log(odd[:6]), [-np.inf, -np.inf, np.inf, np.nan, np.nan, np.nan]
        )


@pytest.mark.parametrize("columns", [1, 2, 7, 40])
def test_the_log_softmax_is_scipys(columns: int) -> None:
    rows = np.random.default_rng(columns).normal(size=(50, columns)) * 20
    np.testing.assert_allclose(log_softmax(rows), scipys(rows, axis=1), rtol=1e-14, atol=1e-14)


def test_their_bits_are_the_same_on_every_machine() -> None:
    steps = np.arange(-7000, 7001) / 10
    found = exp(steps), log(np.arange(1, 14002) / 16.0), log_softmax(steps.reshape(-1, 3))
    digest = hashlib.sha256(b"".join(part.astype("<f8").tobytes() for part in found))
    assert digest.hexdigest() == "69c9a5ac357d6d1e26891ce1f644a77a02c5e261d3172fb4ad289b99c9bbf0ca"
