"""Temperatures and thresholds are the best ones, and do what they say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from retort.export.temperature import fitted_temperature, is_given, thresholds


def softmax(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    found: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return found


def loss(logits: NDArray[np.float32], targets: NDArray[np.int64], temperature: float) -> float:
    own = softmax(logits.astype(np.float64) / temperature)[np.arange(len(targets)), targets]
    return -float(np.log(own).mean())


def drawn_labels(
    seed: int, documents: int, labels: int, temperature: float
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Logits, and labels that are drawn by their probabilities at a temperature."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 2, (documents, labels)).astype(np.float32)
    chances = softmax(logits.astype(np.float64) / temperature)
    return logits, np.array([random.choice(labels, p=row) for row in chances])


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_of_labels_that_are_drawn_by_probabilities_it_is_theirs(temperature: float) -> None:
    found = fitted_temperature(*drawn_labels(7, 10000, 4, temperature))
    assert found == pytest.approx(temperature, rel=0.1)


@given(st.integers(0, 2**31), st.sampled_from([0.2, 0.7, 1.0, 3.0]), st.integers(2, 6))
def test_no_other_temperature_has_a_smaller_loss(seed: int, drawn: float, labels: int) -> None:
    logits, targets = drawn_labels(seed, 400, labels, drawn)
    found = fitted_temperature(logits, targets)
    for other in (found * 0.99, found * 1.01, drawn):
        assert loss(logits, targets, found) <= loss(logits, targets, other) + 1e-9


@pytest.mark.parametrize(("own", "expected"), [(0, 2.0**-6), (1, 2.0**6)])
def test_a_model_that_is_always_right_or_wrong_has_the_temperature_at_the_end(
    own: int, expected: float
) -> None:
    logits = np.array([[2.0, -1.0, 0.0]] * 5, np.float32)
    assert fitted_temperature(logits, np.full(5, own)) == pytest.approx(expected, rel=1e-2)


@given(st.integers(0, 2**31), st.floats(0, 0.99), st.integers(1, 60), st.integers(2, 5))
def test_no_more_right_answers_are_withheld_than_may_be(
    seed: int, share: float, documents: int, labels: int
) -> None:
    random = np.random.default_rng(seed)
    found = softmax(random.normal(0, 1, (documents, labels))).astype(np.float32)
    targets = random.integers(0, labels, documents)
    least = thresholds(found, targets, share)
    given_label, answered = found.argmax(axis=1), is_given(found, least)
    for label in range(labels):
        right = (given_label == label) & (targets == label)
        withheld = int((right & ~answered).sum())
        assert withheld <= share * right.sum()
        assert right.any() or least[label] == 0
    assert is_given(found, thresholds(found, targets, 0.0))[given_label == targets].all()
