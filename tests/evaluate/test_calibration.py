"""Bins of a reliability diagram, held to scikit-learn and to a count by hand."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve  # type: ignore[import-untyped]

from retort.evaluate.calibration import BINS, calibration_error, reliability

ANSWERS = st.lists(
    st.tuples(st.floats(0.0, 1.0, allow_subnormal=False), st.booleans()), min_size=1, max_size=80
)


@settings(deadline=None)
@given(ANSWERS)
def test_every_document_is_in_the_bin_of_its_confidence(answers: list[tuple[float, bool]]) -> None:
    confidence = np.array([one for one, _ in answers])
    bins = reliability(confidence, np.array([right for _, right in answers]))
    assert len(bins) == BINS
    assert (bins[0].low, bins[-1].high) == (0.0, 1.0)
    assert all(left.high == right.low for left, right in pairwise(bins))
    gaps = 0.0
    for one in bins:
        inside = [
            (given, right)
            for given, right in answers
            if one.low < given <= one.high or given == one.low == 0.0
        ]
        assert one.documents == len(inside)
        if inside:
            assert one.confidence == pytest.approx(sum(given for given, _ in inside) / len(inside))
            assert one.accuracy == sum(right for _, right in inside) / len(inside)
            gaps += len(inside) / len(answers) * abs(one.confidence - one.accuracy)
    assert calibration_error(bins) == pytest.approx(gaps, abs=1e-12)
    assert 0.0 <= calibration_error(bins) <= 1.0


def test_bins_are_those_of_scikit_learn() -> None:
    chance = np.random.default_rng(3)
    confidence = chance.random(2000)
    right = chance.random(2000) < confidence
    shares, means = calibration_curve(right, confidence, n_bins=BINS, strategy="uniform")
    bins = reliability(confidence, right)
    assert [one.accuracy for one in bins] == pytest.approx(shares.tolist())
    assert [one.confidence for one in bins] == pytest.approx(means.tolist())
    assert calibration_error(bins) < 0.05


def test_one_who_is_sure_and_right_in_half_is_off_by_half() -> None:
    bins = reliability(np.ones(10), np.arange(10) < 5)
    assert calibration_error(bins) == 0.5
    assert [one.documents for one in bins] == [0] * 14 + [10]
