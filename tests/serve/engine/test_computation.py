"""What is computed of a batch: the bits of each text alone, whatever else is in it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retort.core.errors import UserError
from retort.models.checkpoint import Checkpoint, load_checkpoint
from retort.models.predict import predict
from retort.serve.engine import computation
from retort.serve.engine.computation import (
    SelfTestFailed,
    probabilities,
    self_test,
    set_precision,
)
from tests.tiny.checkpoints import write_served


@pytest.fixture(scope="session", params=["native", "portable"])
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    path = write_served(tmp_path_factory.mktemp("checkpoints") / "tiny", request.param)
    torch.set_num_threads(1)
    return load_checkpoint(path)


@pytest.fixture(scope="session")
def rounded(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    found = load_checkpoint(write_served(tmp_path_factory.mktemp("rounded") / "tiny", "portable"))
    set_precision(found, "bfloat16")
    return found


def together(loaded: Checkpoint, texts: list[str]) -> "np.ndarray[Any, np.dtype[np.float32]]":
    read = [loaded.tokenise.read(text)[0] for text in texts]
    return probabilities(loaded, np.concatenate(read), [len(ids) for ids in read])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text("abc猫 ,.", min_size=1, max_size=60), min_size=1, max_size=12))
def test_a_text_has_the_bits_of_itself_alone_and_of_the_verifier(
    loaded: Checkpoint, texts: list[str]
) -> None:
    texts = [f"a{text}" for text in texts]
    found = together(loaded, texts)
    for text, row in zip(texts, found, strict=True):
        assert together(loaded, [text]).tobytes() == row.tobytes()
        (alone,) = predict(loaded, [text])
        assert (alone.label, alone.confidence) == (loaded.labels[row.argmax()], row.max())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text("abc猫 ,.", min_size=1, max_size=60), min_size=1, max_size=12))
def test_rounded_to_bfloat16_it_has_the_bits_of_itself_alone_too(
    rounded: Checkpoint, texts: list[str]
) -> None:
    texts = [f"a{text}" for text in texts]
    for text, row in zip(texts, together(rounded, texts), strict=True):
        assert together(rounded, [text]).tobytes() == row.tobytes()


def test_a_rounded_model_says_nearly_the_same_and_not_the_same(rounded: Checkpoint) -> None:
    texts = ["shares rose", "the vote was close", "two goals, one win"]
    nearly = together(rounded, texts)
    set_precision(rounded, "float32")
    exactly = together(rounded, texts)
    set_precision(rounded, "bfloat16")
    self_test(rounded)
    assert 0 < np.abs(nearly - exactly).max() < 0.1


def test_native_arithmetic_is_not_rounded(tmp_path: Path) -> None:
    native = load_checkpoint(write_served(tmp_path / "tiny", "native"))
    set_precision(native, "float32")
    with pytest.raises(UserError, match="bfloat16 is for checkpoints in portable arithmetic"):
        set_precision(native, "bfloat16")


def test_a_text_that_the_model_fails_on_takes_no_other_with_it(
    loaded: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = computation._scores

    def failing(loaded: Checkpoint, ids: Any, lengths: Any) -> torch.Tensor:
        if 5 in lengths:
            raise RuntimeError("out of memory")
        return scores(loaded, ids, lengths)

    monkeypatch.setattr(computation, "_scores", failing)
    found = together(loaded, ["a", "a a a", "b b"])
    assert np.isnan(found[1]).all()
    assert found[[0, 2]].tobytes() == together(loaded, ["a", "b b"]).tobytes()


def test_the_self_test_sees_a_model_that_answers_by_company(
    loaded: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    self_test(loaded)
    scores = computation._scores

    def leaning(loaded: Checkpoint, ids: Any, lengths: Any) -> torch.Tensor:
        return scores(loaded, ids, lengths) * (1 + 1e-6 * (len(lengths) > 1))

    monkeypatch.setattr(computation, "_scores", leaning)
    with pytest.raises(SelfTestFailed, match="answered otherwise alone than with others"):
        self_test(loaded)


def test_the_self_test_sees_a_model_that_does_not_read(
    loaded: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        computation, "_scores", lambda loaded, _, lengths: torch.ones(len(lengths), 4)
    )
    with pytest.raises(SelfTestFailed, match="as it was"):
        self_test(loaded)
