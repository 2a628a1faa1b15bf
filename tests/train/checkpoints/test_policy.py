"""When checkpoints are made, which of them stay, and how a run ends that is asked to stop."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from retort.core.seal import verify
from retort.core.signals import Terminated
from retort.evaluate.report.run_facts import Evaluation
from retort.models.checkpoint import stored_weights
from retort.models.determinism import fix_arithmetic
from retort.train.checkpoints.policy import CheckpointPolicy
from retort.train.checkpoints.progress_record import ProgressRecord
from retort.train.checkpoints.resume import TensorReader, checkpoint_path, newest_checkpoint
from retort.train.checkpoints.tensor_file import TensorSpec
from retort.train.checkpoints.writer import CheckpointWriter, State, with_moments
from retort.train.engines.contract.engine import ContractEngine
from retort.train.processes.stop import StopRequest, stop_request
from retort.train.recipe import CheckpointsConfig, EvaluateConfig
from tests.processes.contract import ALONE, USUAL, open_engine

FILES = {"config.json": b"{}"}


class Run:
    """A run that keeps its state as it is told, and what it had done when each was begun."""

    def __init__(
        self, path: Path, policy: CheckpointPolicy, engine: ContractEngine, stop: StopRequest
    ) -> None:
        self.path, self.policy, self.engine, self.stop = path, policy, engine, stop
        self.progress = ProgressRecord()
        self.begun: list[int] = []

    def step(self, *, loss: float | None = None, done: bool = False) -> None:
        """One more, with an evaluation if it has a loss."""
        self.engine.step(self.progress.step, 1e-3)
        self.progress = ProgressRecord(self.progress.step + 1, self.progress.evaluations)
        if loss is not None:
            evaluation = Evaluation(self.progress.step, {"loss": loss})
            self.progress = self.progress.with_evaluation(evaluation)
        self.policy.after(self.progress, self.stop, done=done)

    @property
    def kept(self) -> list[int]:
        """Steps whose checkpoints are there and whole."""
        paths = (self.path / "checkpoints").glob("step-*")
        return sorted(int(verify(path).path.name[5:]) for path in paths)


@contextmanager
def running(path: Path, **checkpoints: Any) -> Iterator[Run]:
    fix_arithmetic(1)
    engine, model = open_engine(USUAL.settings)
    weights = {name: TensorSpec.of(one) for name, one in stored_weights(model).items()}
    trained = [name for name, one in model.named_parameters() if one.requires_grad]
    tensors = with_moments(weights, trained)
    state = State({"tokens": "sha256:0"}, {}, FILES, tensors, engine.slices)
    run: Run
    with CheckpointWriter(ALONE, state) as writer, stop_request() as stop:
        policy = CheckpointPolicy(
            path,
            CheckpointsConfig.model_validate(checkpoints),
            EvaluateConfig.model_validate({"every": 1}),
            ALONE,
            writer,
            before=lambda: run.begun.append(run.progress.step),
        )
        run = Run(path, policy, engine, stop)
        yield run


def test_a_checkpoint_is_made_every_so_many_steps(tmp_path: Path) -> None:
    with running(tmp_path, every=2, keep_last=9) as run:
        for _ in range(7):
            run.step()
    assert run.begun == run.kept == [2, 4, 6]


def test_without_a_reason_none_is_made(tmp_path: Path) -> None:
    with running(tmp_path) as run:
        for _ in range(3):
            run.step()
    assert run.kept == []


def test_a_checkpoint_is_made_when_the_last_is_too_long_ago(tmp_path: Path) -> None:
    with running(tmp_path, minutes=1e-9, keep_last=9) as run:
        for _ in range(3):
            run.step()
    assert run.kept == [1, 2, 3]


def test_a_checkpoint_is_made_of_each_evaluation_better_than_all_before(tmp_path: Path) -> None:
    with running(tmp_path, keep_last=9) as run:
        for loss in (0.9, 0.7, 0.8, 0.7, 0.6):
            run.step(loss=loss)
    assert run.kept == [1, 2, 5]


def test_the_last_ones_and_the_best_one_stay(tmp_path: Path) -> None:
    with running(tmp_path, every=1, keep_last=2) as run:
        for loss in (0.9, 0.5, 0.8, 0.7, 0.6):
            run.step(loss=loss)
    assert run.kept == [2, 4, 5]


def test_at_the_end_only_the_result_is_kept(tmp_path: Path) -> None:
    with running(tmp_path, every=2) as run:
        run.step()
        run.step(done=True)
    assert run.kept == []


def test_a_checkpoint_holds_all_that_a_run_goes_on_from(tmp_path: Path) -> None:
    with running(tmp_path, every=2) as run:
        for loss in (0.9, 0.8):
            run.step(loss=loss)
        weights = [one.clone() for one in run.engine.model.parameters()]
        run.step()
    found = newest_checkpoint(tmp_path)
    assert found is not None
    assert found.progress.step == 2
    assert [one.figures["loss"] for one in found.progress.evaluations] == [0.9, 0.8]
    assert found.sealed.read("config.json") == b"{}"

    resumed, _ = open_engine(USUAL.settings, spoiled=1.0)
    resumed.restore(TensorReader(found.sealed.path), found.progress.step)
    pairs = zip(resumed.model.parameters(), weights, strict=True)
    assert all(torch.equal(*pair) for pair in pairs)
    resumed.step(2, 1e-3)
    pairs = zip(resumed.model.parameters(), run.engine.model.parameters(), strict=True)
    assert all(torch.equal(*pair) for pair in pairs)


@pytest.mark.parametrize(
    ("number", "end"), [(signal.SIGTERM, Terminated), (signal.SIGINT, KeyboardInterrupt)]
)
@pytest.mark.parametrize("done", [False, True])
def test_a_run_that_is_asked_to_stop_seals_its_state_first(
    number: int, end: type[BaseException], done: bool, tmp_path: Path
) -> None:
    with pytest.raises(end), running(tmp_path) as run:
        run.step()
        os.kill(os.getpid(), number)
        run.step(done=done)
    assert run.kept == [2]
    assert verify(checkpoint_path(tmp_path, 2)).read("config.json") == b"{}"


def test_a_checkpoint_is_there_while_the_run_goes_on(tmp_path: Path) -> None:
    with running(tmp_path, every=1, keep_last=9) as run:
        run.step()
        run.step()
        assert 1 in run.kept
