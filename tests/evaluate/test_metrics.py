"""Figures of a classifier, held to a count by hand and to scikit-learn."""

import json
import math
import random
import warnings
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, log_loss, precision_recall_fscore_support  # type: ignore[import-untyped]

from retort.core.errors import VerificationError
from retort.evaluate.metrics import Metrics, confusion_matrix, measure
from tests.tiny.predictions import CASES, Case


@settings(deadline=None)
@given(CASES)
def test_figures_are_those_counted_by_hand(case: Case) -> None:
    metrics = measure(case.targets, case.logits, case.labels)
    pairs = list(zip(case.targets.tolist(), case.logits.argmax(dim=1).tolist(), strict=True))
    classes = len(case.labels)

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
        assert one.label == case.labels[number]
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
    assert metrics.figures()["accuracy"] == metrics.accuracy
    assert all(math.isfinite(figure) for figure in metrics.figures().values())


def ratio(part: Fraction | int, whole: Fraction | int) -> Fraction:
    return Fraction(part) / Fraction(whole) if whole else Fraction(0)


@settings(deadline=None)
@given(CASES)
def test_averages_and_loss_are_those_of_scikit_learn(case: Case) -> None:
    metrics = measure(case.targets, case.logits, case.labels)
    targets, found = case.targets.numpy(), case.logits.argmax(dim=1).numpy()
    numbers = list(range(len(case.labels)))
    assert metrics.accuracy == pytest.approx(accuracy_score(targets, found))
    for average, ours in (("macro", metrics.macro), ("micro", metrics.micro)):
        expected = precision_recall_fscore_support(
            targets, found, labels=numbers, average=average, zero_division=0.0
        )
        assert (ours.precision, ours.recall, ours.f1) == pytest.approx(expected[:3], abs=1e-12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of rows that add up to 1 but for rounding
        loss = log_loss(targets, case.probabilities, labels=numbers)
    assert metrics.loss == pytest.approx(loss, rel=1e-9, abs=1e-12)


@settings(deadline=None)
@given(CASES, st.randoms(use_true_random=False))
def test_the_order_of_documents_changes_no_bit(case: Case, chance: random.Random) -> None:
    order = list(range(len(case.targets)))
    chance.shuffle(order)
    other = measure(case.targets[order], case.logits[order], case.labels)
    assert other == measure(case.targets, case.logits, case.labels)


def test_rows_are_true_labels_and_columns_predicted_ones() -> None:
    matrix = confusion_matrix(torch.tensor([0, 0, 1]), torch.tensor([1, 1, 1]), 3)
    assert matrix.tolist() == [[0, 2, 0], [0, 1, 0], [0, 0, 0]]


def test_a_probability_too_small_for_a_float_still_has_a_loss() -> None:
    metrics = measure(torch.tensor([1]), torch.tensor([[2000.0, 0.0]]), ["a", "b"])
    assert metrics.loss == 2000.0
    assert metrics.calibration_error == 1.0


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_logits_that_are_no_numbers_are_not_measured(wrong: float) -> None:
    logits = torch.tensor([[0.0, 1.0], [wrong, 0.0]])
    with pytest.raises(VerificationError, match="logits of 1 of 2 held-out documents are not fin"):
        measure(torch.tensor([0, 1]), logits, ["a", "b"])


def test_a_label_that_no_document_has_counts_in_the_macro_mean_and_has_no_auc() -> None:
    logits = torch.from_numpy(np.eye(3, dtype=np.float32)[[0, 1, 0]])
    metrics = measure(torch.tensor([0, 1, 1]), logits, ["a", "b", "c"])
    assert [one.auc for one in metrics.labels] == [0.75, 0.75, None]
    assert metrics.macro_auc == 0.75
    assert metrics.macro.recall == pytest.approx((1 + 0.5 + 0) / 3)
