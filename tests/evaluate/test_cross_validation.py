"""Folds taken together."""

import json
import re

import pytest
import torch
from torch.nn.functional import one_hot

from retort.evaluate.cross_validation import CrossValidation, Fold, render_folds
from retort.evaluate.intervals import wilson_interval
from retort.evaluate.metrics import measure


def fold(number: int, right: int, documents: int, failure: str | None = None) -> Fold:
    targets = torch.arange(documents) % 2
    found = torch.where(torch.arange(documents) < right, targets, 1 - targets)
    metrics = measure(targets, one_hot(found, 2).float(), ["a", "b"])
    return Fold(number, f"sha256:{number:064}", metrics, failure)


FOLDS = CrossValidation("tiny & fast", (fold(0, 9, 10), fold(1, 16, 20), fold(2, 10, 10)))


def test_the_mean_counts_folds_alike_and_the_pool_documents() -> None:
    assert FOLDS.mean == pytest.approx((0.9 + 0.8 + 1.0) / 3)
    assert (FOLDS.right, FOLDS.documents) == (35, 40)
    assert FOLDS.pooled_interval == wilson_interval(35, 40)
    low, high = FOLDS.interval
    assert low == pytest.approx(0.9 - 4.302653 * 0.1 / 3**0.5, abs=1e-6)
    assert high == 1.0, "not over 1, though Student's t knows no bounds"


def test_the_line_and_the_json_say_the_same() -> None:
    found = json.loads(json.dumps(FOLDS.to_json()))
    assert found["accuracy"] == FOLDS.mean
    assert [one["accuracy"] for one in found["folds"]] == [0.9, 0.8, 1.0]
    assert FOLDS.line() == (
        "mean accuracy 0.9000, 95 % interval 0.6516 to 1.0000 (Student's t, 3 folds: "
        "0.9000 0.8000 1.0000); pooled 0.8750, 0.7389 to 0.9454 (Wilson, 40 documents)"
    )


def test_the_page_shows_every_fold_and_is_the_same_for_the_same_folds() -> None:
    page = render_folds(FOLDS)
    assert page == render_folds(FOLDS)
    for shown in ("tiny &amp; fast", "90.00%", "87.50%", "fold 2", "0.8000"):
        assert shown in page
    assert len(re.findall("<svg ", page)) == 1
    assert "Every fold was verified" in page


def test_a_failed_fold_is_named() -> None:
    folds = (fold(0, 9, 10), fold(1, 2, 10, failure="accuracy 0.2 is under 0.5"))
    page = render_folds(CrossValidation("tiny", folds))
    assert "Failed: fold 1: accuracy 0.2 is under 0.5." in page
    assert "Every fold was verified" not in page
