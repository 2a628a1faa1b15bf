"""Runs that end before their last step: loss that is no number, and no more progress."""

import json
import re
import shutil
from pathlib import Path

import pytest

from retort.core.errors import UserError
from retort.core.seal import verify
from retort.train.checkpoints.resume import TensorReader
from retort.train.main import main
from retort.train.run.divergence import TrainingStopped
from tests.processes.forks import TRAINING, fork_server_for
from tests.tiny.runs import (
    checkpoints,
    evaluation,
    sealed,
    steps_written,
    tiny_recipe,
    train,
    typed,
)

server = fork_server_for(*TRAINING)

DIVERGES = ["optimizer.lr=1e30", "checkpoints.every=1"]
TOUCHY = ["divergence.spike=1.01", "divergence.window=5", "checkpoints.every=2"]
SELECT: dict[str, dict[str, object]] = {
    "train": {"steps": 60},
    "optimizer": {"lr": 3e-2},
    "schedule": {"warmup": 0.0, "decay": "none"},
    "evaluate": {"every": 4, "patience": 3, "metric": "loss", "select": "best"},
}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_recipe(tmp_path_factory.mktemp("inputs"))


def test_a_loss_that_is_no_number_stops_the_run_names_the_shards_and_keeps_the_batch(
    recipe: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    with pytest.raises(TrainingStopped) as stopped:
        main(typed(recipe, out, settings=DIVERGES))
    told = re.match(r"step (\d+): the loss of shards? ([\d, ]+) is nan", str(stopped.value))
    assert told, stopped.value
    step, shards = int(told[1]), told[2].split(", ")
    place = out / "stopped" / f"step-{step:08}"
    reason = json.loads((place / "reason.json").read_text())
    assert reason["shards"] == [int(shard) for shard in shards]
    for shard in shards:
        texts = (place / f"shard-{shard}" / "texts.jsonl").read_text().splitlines()
        assert [set(json.loads(text)) for text in texts] == [
            {"document", "digest", "label", "text"}
        ]
    assert steps_written(out) == step - 1
    for name in checkpoints(out):
        verify(out / "checkpoints" / name, kind="checkpoint")
    with pytest.raises(UserError, match=rf"was stopped at step {step}: .* remove {out}/stopped"):
        main(typed(recipe, out, settings=DIVERGES))


def test_two_processes_stop_at_the_same_step_with_one_message(recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingStopped) as alone:
        main(typed(recipe, tmp_path / "alone", settings=DIVERGES))
    done = train(typed(recipe, tmp_path / "two", "--nproc", "2", settings=DIVERGES))
    assert done.returncode == 1
    assert done.stderr.count(str(alone.value)) == 1
    assert "Traceback" not in done.stderr
    for one in ("texts.jsonl", "batch.safetensors"):
        files = [sorted((tmp_path / run).rglob(one)) for run in ("alone", "two")]
        assert [file.read_bytes() for file in files[0]] == [file.read_bytes() for file in files[1]]
        assert files[0]


def test_a_person_who_knows_better_lets_a_run_go_on_after_a_spike(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    with pytest.raises(TrainingStopped, match=r"the loss is .* over 1\.01 times"):
        main(typed(recipe, out, settings=TOUCHY))
    kept = checkpoints(out)
    assert kept
    with pytest.raises(UserError, match="was stopped at step"):
        main(typed(recipe, out))
    shutil.rmtree(out / "stopped")
    assert main(typed(recipe, out)) == 0
    assert checkpoints(out) == kept
    assert main(typed(recipe, tmp_path / "undisturbed")) == 0
    seals = [line.split()[1] for line in capsys.readouterr().out.splitlines()]
    assert seals == [seals[0]] * 2


def test_a_run_without_progress_stops_early_and_its_checkpoint_is_the_best_one(
    tmp_path: Path,
) -> None:
    recipe = tiny_recipe(tmp_path / "inputs", SELECT)
    out = tmp_path / "run"
    assert main(typed(recipe, out)) == 0
    last = steps_written(out)
    assert last < 60
    best = last - 3 * 4
    # The best one stays; how many before it were kept as the best so far follows from the numbers.
    assert checkpoints(out)[-1] == f"step-{best:08}"
    kept = TensorReader(out / "checkpoints" / f"step-{best:08}")
    final = TensorReader(out / "checkpoint")
    names = (out / "checkpoint" / "model.safetensors").read_bytes()
    header = json.loads(names[8 : 8 + int.from_bytes(names[:8], "little")])
    for name in header.keys() - {"__metadata__"}:
        assert final("model", name).equal(kept("model", name)), name

    two = tmp_path / "two"
    assert sealed(train(typed(recipe, two, "--nproc", "2"))) == verify(out / "checkpoint").seal
    assert evaluation(two) == evaluation(out)


@pytest.mark.parametrize(
    "settings",
    [["train.steps=1"], ["train.steps=4", "checkpoints.every=1"], ["evaluate.every=1"]],
    ids=["at the end", "at a checkpoint", "at an evaluation"],
)
def test_what_is_not_finite_is_never_sealed_and_the_next_start_says_so(
    recipe: Path, tmp_path: Path, settings: list[str]
) -> None:
    out, settings = tmp_path / "run", [*settings, "optimizer.lr=1e38", "schedule.warmup=0.0"]
    with pytest.raises(TrainingStopped, match=r"^step 1: after it, .* lower optimizer\.lr") as stop:
        main(typed(recipe, out, settings=settings))
    assert "not finite" in str(stop.value)
    assert checkpoints(out) == []
    assert not (out / "checkpoint").exists() and not (out / "run.json").exists()
    with pytest.raises(UserError, match=r"was stopped at step 1: after it, .* not finite"):
        main(typed(recipe, out, settings=settings))


def test_a_step_whose_weights_are_not_finite_is_not_kept_and_the_tensor_named(
    recipe: Path, tmp_path: Path
) -> None:
    settings = ["optimizer.lr=3e38", "optimizer.weight_decay=3e38", "schedule.warmup=0.0"]
    settings += ["checkpoints.every=1"]
    with pytest.raises(TrainingStopped) as alone:
        main(typed(recipe, tmp_path / "alone", settings=settings))
    assert re.match(
        r"step 1: after it, [\w.]+ of model\.safetensors is not finite \(learning rate 3e\+38\); "
        "the same recipe comes to the same step again: ",
        str(alone.value),
    )
    done = train(typed(recipe, tmp_path / "two", "--nproc", "2", settings=settings))
    assert (done.returncode, done.stderr.count(str(alone.value))) == (1, 1)
    assert checkpoints(tmp_path / "alone") == checkpoints(tmp_path / "two") == []
