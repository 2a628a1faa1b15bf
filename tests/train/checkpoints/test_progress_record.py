"""How far a run has come: the same after a resume, to the last bit."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retort.core.errors import SealError
from retort.evaluate.report.run_facts import Evaluation
from retort.train.checkpoints.progress_record import ProgressRecord
from retort.train.recipe import EvaluateConfig

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
FIGURES = st.dictionaries(st.sampled_from(["loss", "accuracy"]), NUMBERS)
RECORDS = st.builds(
    ProgressRecord,
    st.integers(0, 10**12),
    st.lists(st.builds(Evaluation, st.integers(1, 99), FIGURES), max_size=4).map(tuple),
    st.lists(NUMBERS, max_size=9).map(tuple),
)


def record(*losses: float) -> ProgressRecord:
    """With an evaluation every ten steps, whose accuracy falls as the loss rises."""
    progress = ProgressRecord()
    for number, loss in enumerate(losses, 1):
        figures = {"loss": loss, "accuracy": 1.0 - loss}
        progress = progress.with_evaluation(Evaluation(10 * number, figures))
    return progress


@settings(deadline=None)
@given(RECORDS)
def test_it_comes_back_as_it_was_and_has_one_form(progress: ProgressRecord) -> None:
    content = progress.to_bytes()
    assert ProgressRecord.from_bytes(content) == progress
    assert ProgressRecord.from_bytes(content).to_bytes() == content


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b"null",
        b'{"evaluations":[],"format":2,"losses":[],"step":1}',
        b'{"evaluations":[],"format":1,"losses":[]}',
        b'{"evaluations":[{"step":1}],"format":1,"losses":[],"step":1}',
        b'{"evaluations":[],"format":1,"losses":null,"step":1}',
        b'{"evaluations":[],"format":1,"losses":[],"step":"many"}',
    ],
)
def test_anything_else_is_refused(content: bytes) -> None:
    with pytest.raises(SealError, match=r"progress\.json: is not the progress of a run"):
        ProgressRecord.from_bytes(content)


@pytest.mark.parametrize("metric", ["loss", "accuracy"])
def test_the_best_is_the_first_of_equal_ones(metric: str) -> None:
    config = EvaluateConfig.model_validate({"every": 10, "metric": metric})
    assert ProgressRecord().best(config) is None
    best = record(0.5, 0.25, 0.75, 0.25).best(config)
    assert best is not None
    assert best.step == 20


def test_the_result_is_the_last_step_unless_the_best_evaluation_is_asked_for() -> None:
    every, best = ({"every": 10, "select": select} for select in ("last", "best"))
    after = dataclasses.replace(record(0.5, 0.25, 0.75), step=35)
    assert after.selected(EvaluateConfig.model_validate(every)) == 35
    assert after.selected(EvaluateConfig.model_validate(best)) == 20
    assert ProgressRecord(7).selected(EvaluateConfig.model_validate(best)) == 7


@pytest.mark.parametrize(
    ("losses", "stops"),
    [
        ((), False),
        ((0.5,), False),
        ((0.5, 0.6), False),
        ((0.5, 0.6, 0.7), True),
        ((0.5, 0.5, 0.5), True),
        ((0.5, 0.6, 0.4), False),
        ((0.5, 0.6, 0.4, 0.5), False),
        ((0.5, 0.6, 0.4, 0.5, 0.4), True),
    ],
)
def test_it_stops_after_as_many_evaluations_without_gain_as_the_patience(
    losses: tuple[float, ...], stops: bool
) -> None:
    patient = EvaluateConfig.model_validate({"every": 10, "patience": 2})
    assert record(*losses).should_stop(patient) == stops
    assert not record(*losses).should_stop(EvaluateConfig.model_validate({"every": 10}))
