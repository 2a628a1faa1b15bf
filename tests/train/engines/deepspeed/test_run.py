"""The DeepSpeed back end, from a command to a checkpoint like any other."""

import shutil
from pathlib import Path

import pytest

from retort.core.errors import ConfigError
from retort.core.seal import verify
from retort.train.main import main
from tests.processes.forks import NATIVE, TRAINING, fork_server_for
from tests.tiny.runs import (
    as_if_killed_at_the_end,
    checkpoints,
    evaluation,
    sealed,
    tiny_recipe,
    train,
    typed,
)

server = fork_server_for(*TRAINING, *NATIVE, "retort.train.engines.deepspeed.engine")

TWO = ("--nproc", "2")
DEEPSPEED = ["backend=deepspeed", "deepspeed.zero_stage=2"]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sections = {"train": {"steps": 60}, "checkpoints": {"every": 25}}
    return tiny_recipe(tmp_path_factory.mktemp("inputs"), sections)


@pytest.fixture(scope="module")
def contract(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("contract") / "run"
    # DeepSpeed is native, too, and so begins with the same weights of the head.
    sealed(train(typed(recipe, out, settings=["train.arithmetic=native"])))
    return out


def test_deepspeed_learns_as_much_with_one_seal_from_run_to_run_and_after_a_resume(
    recipe: Path, contract: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    seal = sealed(train(typed(recipe, out, *TWO, settings=DEEPSPEED)))
    assert seal != verify(contract / "checkpoint").seal
    ours, theirs = evaluation(contract), evaluation(out)
    assert ours["documents"] == theirs["documents"] > 0
    assert abs(ours["accuracy"] - theirs["accuracy"]) <= 1 / ours["documents"]
    assert theirs["loss"] == pytest.approx(ours["loss"], rel=0.01, abs=1e-3)

    again = sealed(train(typed(recipe, tmp_path / "again", *TWO, settings=DEEPSPEED)))
    assert again == seal
    resumed = as_if_killed_at_the_end(out, tmp_path / "resumed")
    done = train(typed(recipe, resumed, *TWO, settings=DEEPSPEED))
    assert "going on after step 50" in done.stderr
    assert sealed(done) == seal

    other = as_if_killed_at_the_end(out, tmp_path / "other")
    with pytest.raises(ConfigError, match='backend was "deepspeed" and is "contract"'):
        main(typed(recipe, other))


def test_a_run_of_one_back_end_is_another_run_to_the_other(
    recipe: Path, contract: Path, tmp_path: Path
) -> None:
    out = as_if_killed_at_the_end(contract, tmp_path / "run")
    with pytest.raises(ConfigError, match='backend was "contract" and is "deepspeed"'):
        main(typed(recipe, out, settings=DEEPSPEED))
    # Nor does the checkpoint let itself be taken for one of the other, whatever stands beside it.
    (out / "recipe.yaml").unlink()
    (out / "recipe.partial").touch()
    with pytest.raises(ConfigError, match=r"belongs to another run: backend was .* and is"):
        main(typed(recipe, out, settings=DEEPSPEED))


def test_deepspeed_makes_a_best_checkpoint_again_that_was_damaged(tmp_path: Path) -> None:
    sections: dict[str, dict[str, object]] = {
        "train": {"steps": 12},
        "optimizer": {"lr": 3e-2},
        "schedule": {"warmup": 0.0, "decay": "none"},
        "evaluate": {"every": 4, "metric": "loss", "select": "best"},
        "checkpoints": {"every": 3, "keep_last": 9},
    }
    recipe = tiny_recipe(tmp_path / "inputs", sections)
    out = tmp_path / "run"
    seal = sealed(train(typed(recipe, out, *TWO, settings=DEEPSPEED)))
    resumed = as_if_killed_at_the_end(out, tmp_path / "resumed")
    for name in checkpoints(resumed)[:-1]:
        shutil.rmtree(resumed / "checkpoints" / name)
    done = train(typed(recipe, resumed, *TWO, settings=DEEPSPEED))
    assert "so steps 1 to" in done.stderr
    assert sealed(done) == seal
