"""The same seal on another path, for another user, in another environment, and on a busy machine."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from retort.core.seal import verify
from tests.processes.forks import TRAINING, fork_server_for
from tests.tiny.runs import seal_of, sealed, tiny_recipe, train, train_anew, typed

server = fork_server_for(*TRAINING)

SAME = ("metrics.jsonl", "logits.safetensors", "evaluation.json")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Two threads: a sum that they share is where a busy machine could show.
    return tiny_recipe(
        tmp_path_factory.mktemp("inputs"),
        {"train": {"threads": 2, "steps": 30}, "checkpoints": {"every": 20}},
    )


@pytest.fixture(scope="module")
def first(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("first") / "run"
    done = train_anew(
        typed(recipe, out), PYTHONHASHSEED="1", TZ="UTC", OMP_NUM_THREADS="1", LANG="C"
    )
    assert done.returncode == 0, done.stderr
    return out


def assert_same(run: Path, first: Path) -> None:
    folder = Path("checkpoints", "step-00000020")
    for one in (folder, Path("checkpoint")):
        assert verify(run / one).seal == verify(first / one).seal
    for name in SAME:
        assert (run / name).read_bytes() == (first / name).read_bytes(), name


def test_another_place_user_and_environment(recipe: Path, first: Path, tmp_path: Path) -> None:
    out = tmp_path / "somewhere else" / "run"
    done = train_anew(
        typed(recipe, out, "--json"),
        umask=0o077,
        PYTHONHASHSEED="2",
        TZ="Asia/Kathmandu",
        OMP_NUM_THREADS="3",
        LANG="tr_TR.UTF-8",
        USER="nobody",
        LOGNAME="nobody",
        HOME=str(tmp_path),
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["path"] == str(out / "checkpoint")
    assert answer["seal"] == verify(first / "checkpoint").seal
    assert_same(out, first)


def test_inputs_at_another_place(first: Path, tmp_path: Path) -> None:
    moved = tiny_recipe(
        tmp_path / "moved",
        {"train": {"threads": 2, "steps": 30}, "checkpoints": {"every": 20}},
    )
    sealed(train(typed(moved, tmp_path / "run")))
    assert_same(tmp_path / "run", first)


def test_a_machine_with_other_work_to_do(recipe: Path, first: Path, tmp_path: Path) -> None:
    with other_work():
        done = train(typed(recipe, tmp_path / "run", "--nproc", "2"))
    assert done.returncode == 0, done.stderr
    assert seal_of(done.stdout) == verify(first / "checkpoint").seal
    assert_same(tmp_path / "run", first)


@contextmanager
def other_work() -> Iterator[None]:
    """A process for each core that never rests."""
    cores = len(os.sched_getaffinity(0))
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(cores)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


@pytest.mark.parametrize("setting", ["train.seed=1", "train.shards=2", "model.head.dropout=0.2"])
def test_the_control_another_recipe_has_another_seal(
    recipe: Path, first: Path, tmp_path: Path, setting: str
) -> None:
    sealed(train(typed(recipe, tmp_path / "run", settings=[setting])))
    weights = Path("checkpoint", "model.safetensors")
    assert (tmp_path / "run" / weights).read_bytes() != (first / weights).read_bytes()
