"""One seal for every number of processes and threads: MiniLM fine-tuned on BBC News, dropout and bfloat16 on."""

import json
from pathlib import Path

import pytest

from tests.processes import ddp as ddp_process
from tests.processes.forks import TRAINING, fork_server_for
from tests.processes.world_sizes import CLIP, Seen, train_by, write_recipe

server = fork_server_for(*TRAINING)
STEPS = 3


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recipe(tmp_path_factory.mktemp("inputs"), STEPS)


@pytest.fixture(scope="module")
def alone(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """The run of one process."""
    return train_by(1, recipe, tmp_path_factory.mktemp("alone") / "run")


def test_clipping_bites_at_every_step_and_checkpoints_differ_from_one_another(alone: Seen) -> None:
    steps = [json.loads(line) for line in alone.metrics.splitlines()]
    assert len(steps) == STEPS
    assert all(step["gradient_norm"] > CLIP for step in steps)
    assert list(alone.kept) == ["step-00000002"]
    assert alone.kept["step-00000002"] != alone.final


@pytest.mark.parametrize(("processes", "threads"), [(3, 2), (8, 1)])
def test_every_number_of_processes_and_threads_has_the_seals_of_one(
    recipe: Path, alone: Seen, tmp_path: Path, processes: int, threads: int
) -> None:
    assert train_by(processes, recipe, tmp_path / "run", threads) == alone


def test_stock_data_parallelism_has_other_weights_for_each_number_of_processes(
    recipe: Path, tmp_path: Path
) -> None:
    """The control: what the contract keeps equal does differ where nobody does."""
    once = ddp_process.train(recipe, tmp_path / "once", 1)
    assert ddp_process.train(recipe, tmp_path / "again", 1) == once
    assert ddp_process.train(recipe, tmp_path / "two", 2) != once
