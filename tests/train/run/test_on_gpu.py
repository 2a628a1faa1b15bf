"""Whole runs on a GPU: one recipe has one seal there, too, interrupted or not."""

import json
import signal
from pathlib import Path

import pytest
import torch

from retort.core.seal import verify
from tests.tiny.runs import (
    begin,
    seal_said,
    sealed,
    steps_written,
    tiny_recipe,
    train,
    typed,
    wait_until,
)

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU of CUDA here")

STEPS = 100


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sections = {
        "train": {"steps": STEPS, "batch": 8, "shards": 4},
        "checkpoints": {"every": 25},
    }
    return tiny_recipe(tmp_path_factory.mktemp("inputs"), sections)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_run_has_one_seal_twice_and_after_it_was_stopped_and_by_two_processes(
    recipe: Path, tmp_path: Path, precision: str
) -> None:
    settings = (f"train.precision={precision}",)
    stopped = tmp_path / "stopped"
    logs = {name: tmp_path / f"{name}.log" for name in ("a", "b", "stopped", "other")}
    runs = {
        name: begin(typed(recipe, tmp_path / name, settings=(*settings, *more)), logs[name])
        for name, more in (("a", ()), ("b", ()), ("stopped", ()), ("other", ("train.seed=1",)))
    }
    wait_until(lambda: steps_written(stopped), runs["stopped"])
    runs["stopped"].send_signal(signal.SIGTERM)
    codes = {name: process.wait() for name, process in runs.items()}
    said = {name: log.read_text(encoding="utf-8") for name, log in logs.items()}
    assert codes == {"a": 0, "b": 0, "stopped": 143, "other": 0}, said
    assert 0 < steps_written(stopped) < STEPS
    seals = {name: seal_said(logs[name]) for name in ("a", "b", "other")}
    seals["stopped"] = sealed(train(typed(recipe, stopped, settings=settings)))
    pair = typed(recipe, tmp_path / "pair", "--nproc", "2", "--share-gpus", settings=settings)
    seals["pair"] = sealed(train(pair))
    assert seals["a"] == seals["b"] == seals["stopped"] == seals["pair"] != seals["other"]
    for name in ("metrics.jsonl", "logits.safetensors", "evaluation.json"):
        assert (stopped / name).read_bytes() == (tmp_path / "a" / name).read_bytes(), name


def test_the_run_is_on_the_gpu_and_learns_and_is_verified_there(
    recipe: Path, tmp_path: Path
) -> None:
    done = train(typed(recipe, tmp_path / "run"))
    assert verify(tmp_path / "run" / "checkpoint").seal == sealed(done)
    assert torch.cuda.get_device_name() in done.stderr
    lines = (tmp_path / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    losses = [json.loads(line)["loss"] for line in lines]
    assert losses[-1] < losses[0] / 2
    assert "--device cuda" in (tmp_path / "run" / "README.md").read_text(encoding="utf-8")


def test_more_processes_than_gpus_are_refused_in_one_line(recipe: Path, tmp_path: Path) -> None:
    count = torch.cuda.device_count()
    done = train(typed(recipe, tmp_path / "run", "--nproc", str(count + 1)))
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: "), done.stderr
    assert f"this machine has {count}; start fewer processes here" in done.stderr
