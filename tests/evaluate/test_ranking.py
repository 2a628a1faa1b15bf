"""The area under the ROC curve, held to scikit-learn."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score  # type: ignore[import-untyped]

from retort.evaluate.metrics import measure
from retort.evaluate.ranking import roc_auc
from tests.tiny.predictions import CASES, Case


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(-5, 5), st.booleans()), min_size=1, max_size=80))
def test_it_is_that_of_scikit_learn_with_any_ties(pairs: list[tuple[int, bool]]) -> None:
    scores = np.array([score / 3 for score, _ in pairs])
    positive = np.array([one for _, one in pairs])
    found = roc_auc(scores, positive)
    if len(set(positive.tolist())) == 1:
        assert found is None
    else:
        assert found == pytest.approx(roc_auc_score(positive, scores), abs=1e-12)


@settings(deadline=None)
@given(CASES)
def test_the_macro_mean_is_that_of_scikit_learn_one_label_against_the_rest(case: Case) -> None:
    metrics = measure(case.targets, case.logits, case.labels)
    present = set(case.targets.tolist())
    if present != set(range(len(case.labels))):
        return  # scikit-learn does not define it then
    probabilities = case.probabilities[:, 1] if len(case.labels) == 2 else case.probabilities
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        expected = roc_auc_score(case.targets.numpy(), probabilities, multi_class="ovr")
    assert metrics.macro_auc == pytest.approx(expected, abs=1e-9)


def test_all_scores_equal_say_nothing() -> None:
    assert roc_auc(np.zeros(5), np.array([True, False, False, True, True])) == 0.5


def test_a_million_documents_are_counted_exactly() -> None:
    scores = np.arange(1_000_000, dtype=np.float64)
    positive = scores >= 400_000
    assert roc_auc(scores, positive) == 1.0
    assert roc_auc(-scores, positive) == 0.0
