"""Figures against a count by hand, for any predictions."""

import json
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from retort.evaluate.metrics import Metrics, confusion_matrix, measure, wilson_interval

PAIRS = st.integers(2, 5).flatmap(
    lambda classes: st.tuples(
        st.just(classes),
        st.lists(
            st.tuples(st.integers(0, classes - 1), st.integers(0, classes - 1)),
            min_size=1,
            max_size=60,
        ),
    )
)


@settings(deadline=None)
@given(PAIRS)
def test_figures_are_those_counted_by_hand(case: tuple[int, list[tuple[int, int]]]) -> None:
    classes, pairs = case
    targets = torch.tensor([target for target, _ in pairs])
    predictions = torch.tensor([prediction for _, prediction in pairs])
    labels = [f"label{number}" for number in range(classes)]
    metrics = measure(targets, predictions, labels)

    assert metrics.documents == len(pairs)
    assert metrics.accuracy == sum(target == found for target, found in pairs) / len(pairs)
    for row in range(classes):
        for column in range(classes):
            assert metrics.confusion[row][column] == pairs.count((row, column))
    scores = []
    for number, one in enumerate(metrics.labels):
        true_positives = pairs.count((number, number))
        false_positives = sum(found == number != target for target, found in pairs)
        false_negatives = sum(target == number != found for target, found in pairs)
        precision = ratio(true_positives, true_positives + false_positives)
        recall = ratio(true_positives, true_positives + false_negatives)
        f1 = ratio(2 * precision * recall, precision + recall)
        scores.append(f1)
        assert one.label == labels[number]
        assert one.support == true_positives + false_negatives
        for actual, expected in [
            (one.precision, precision),
            (one.recall, recall),
            (one.f1, f1),
        ]:
            assert actual == pytest.approx(float(expected), abs=1e-12)
    assert metrics.macro_f1 == pytest.approx(float(sum(scores) / classes), abs=1e-12)
    low, high = metrics.interval
    assert 0.0 <= low <= metrics.accuracy <= high <= 1.0
    assert Metrics.from_json(json.loads(json.dumps(metrics.to_json()))) == metrics


def ratio(part: Fraction | int, whole: Fraction | int) -> Fraction:
    return Fraction(part) / Fraction(whole) if whole else Fraction(0)


def test_rows_are_true_labels_and_columns_predicted_ones() -> None:
    matrix = confusion_matrix(torch.tensor([0, 0, 1]), torch.tensor([1, 1, 1]), 3)
    assert matrix.tolist() == [[0, 2, 0], [0, 1, 0], [0, 0, 0]]


@pytest.mark.parametrize(
    ("right", "total", "expected"),
    # Newcombe, "Two-sided confidence intervals for the single proportion", 1998, table I, method 3.
    [(81, 263, (0.2553, 0.3662)), (15, 148, (0.0624, 0.1605)), (0, 20, (0.0, 0.1611))],
)
def test_the_interval_is_the_published_one(
    right: int, total: int, expected: tuple[float, float]
) -> None:
    assert wilson_interval(right, total) == pytest.approx(expected, abs=5e-5)
