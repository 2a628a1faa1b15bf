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
from retort.models.description import Calibration
from retort.models.fixed import encoder_layers
from retort.models.predict import predict
from retort.serve.engine import computation
from retort.serve.engine.computation import (
    SelfTestFailed,
    hold,
    probabilities,
    self_test,
)
from tests.tiny.checkpoints import write_exported, write_served


@pytest.fixture(scope="session", params=["native", "portable"])
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    path = write_served(tmp_path_factory.mktemp("checkpoints") / "tiny", request.param)
    torch.set_num_threads(1)
    return load_checkpoint(path)


HELD = [
    ("portable", "float32"),
    ("portable", "bfloat16"),
    ("portable", "int8"),
    ("native", "float32"),
]


@pytest.fixture(scope="session", params=HELD, ids=lambda one: f"{one[0]}-{one[1]}")
def held(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """As a server holds it."""
    arithmetic, precision = request.param
    folder = tmp_path_factory.mktemp("held")
    path = write_served(folder / "tiny", arithmetic)
    if precision == "int8":
        path = write_exported(folder / "int8", path, "int8")
    torch.set_num_threads(1)
    found = load_checkpoint(path)
    hold(found, precision)
    return found


def together(loaded: Checkpoint, texts: list[str]) -> "np.ndarray[Any, np.dtype[np.float32]]":
    read = [loaded.tokenise.read(text)[0] for text in texts]
    return probabilities(loaded, np.concatenate(read), [len(ids) for ids in read])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text("abc猫 ,.", min_size=1, max_size=60), min_size=1, max_size=12))
def test_a_text_has_the_bits_of_itself_alone_and_of_the_verifier(
    held: Checkpoint, texts: list[str]
) -> None:
    texts = [f"a{text}" for text in texts]
    found = together(held, texts)
    for text, row in zip(texts, found, strict=True):
        assert together(held, [text]).tobytes() == row.tobytes()
        (alone,) = predict(held, [text])
        assert (alone.label, alone.confidence) == (held.labels[row.argmax()], row.max())


def test_each_precision_says_nearly_the_same_and_not_the_same(tmp_path: Path) -> None:
    texts = ["shares rose", "the vote was close", "two goals, one win"]
    source = write_served(tmp_path / "tiny", "portable")
    exactly = together(load_checkpoint(source), texts)
    rounded = load_checkpoint(write_exported(tmp_path / "bfloat16", source, "bfloat16"))
    said = [together(rounded, texts)]
    for path, precision in ((source, "float32"), (source, "bfloat16"), (rounded.sealed.path, None)):
        found = load_checkpoint(path)
        hold(found, precision)  # type: ignore[arg-type]
        said.append(together(found, texts))
    assert said[1].tobytes() == exactly.tobytes()
    assert said[0].tobytes() == said[2].tobytes() == said[3].tobytes()
    assert 0 < np.abs(said[0] - exactly).max() < 0.1
    levels = together(load_checkpoint(write_exported(tmp_path / "int8", source, "int8")), texts)
    assert 0 < np.abs(levels - exactly).max() < 0.1


def test_weights_are_held_once(held: Checkpoint) -> None:
    assert held.model.portable is None or encoder_layers(held.model) == {}


def test_a_checkpoint_is_held_in_no_precision_that_it_has_not(tmp_path: Path) -> None:
    native = load_checkpoint(write_served(tmp_path / "native", "native"))
    hold(native, "float32")
    with pytest.raises(UserError, match="bfloat16 is for checkpoints in portable arithmetic"):
        hold(native, "bfloat16")
    source = write_served(tmp_path / "tiny", "portable")
    with pytest.raises(UserError, match="which is float32; //serve:export makes one of int8"):
        hold(load_checkpoint(source), "int8")
    levels = load_checkpoint(write_exported(tmp_path / "int8", source, "int8"))
    with pytest.raises(UserError, match="--precision float32 is not for this checkpoint"):
        hold(levels, "float32")


def test_probabilities_are_by_the_temperature(tmp_path: Path) -> None:
    source = write_served(tmp_path / "tiny", "portable")
    warm = write_exported(
        tmp_path / "warm", source, "float32", Calibration(2.0, (0.1, 0.2, 0.3, 0.4))
    )
    plain, cooled = (
        np.log(together(load_checkpoint(path), ["shares rose"]).astype(np.float64))[0]
        for path in (source, warm)
    )
    assert plain - plain[0] == pytest.approx(2 * (cooled - cooled[0]), abs=1e-5)
    assert load_checkpoint(warm).calibration == Calibration(2.0, (0.1, 0.2, 0.3, 0.4))


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
