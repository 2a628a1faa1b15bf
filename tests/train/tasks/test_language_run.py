"""A language model from scratch: it learns, and has one seal for every number of processes."""

import json
from pathlib import Path

import pytest
import yaml

from retort.core.seal import verify
from retort.models.checkpoint import load_language_model
from tests.processes.forks import NATIVE, TRAINING, fork_server_for
from tests.tiny.inputs import COMMON
from tests.tiny.runs import as_if_killed_at_the_end, evaluation, sealed, train, typed

server = fork_server_for(*TRAINING, *NATIVE)

CONTEXT, STEPS = 16, 60


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("language")
    # Each word tells the next one: what there is to learn.
    lines = [
        " ".join(COMMON[(first + place) % 10] for place in range(4 + first % 9))
        for first in range(400)
    ]
    (root / "lines.txt").write_text("\n".join(f"{line} {n}" for n, line in enumerate(lines)))
    values = {
        "data": {
            "source": "text",
            "files": {"paths": [str(root / "lines.txt")]},
            "near_duplicates": {"action": "ignore"},
            "max_tokens": CONTEXT,
        },
        "tokenizer": {"train": {"model": "bpe", "vocabulary": 300}},
        "model": {
            "language_model": {
                "family": "llama",
                "hidden": 32,
                "layers": 2,
                "heads": 4,
                "kv_heads": 2,
                "context": CONTEXT,
                "dropout": 0.1,
            }
        },
        "optimizer": {"lr": 1e-2},
        "train": {"steps": STEPS, "batch": 8, "shards": 4, "precision": "bfloat16"},
        "evaluate": {"every": 20},
        "checkpoints": {"every": 25},
    }
    (root / "llama.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    return root / "llama.yaml"


def test_a_small_llama_learns_and_one_two_and_resumed_processes_agree(
    recipe: Path, tmp_path: Path
) -> None:
    alone, two = tmp_path / "alone", tmp_path / "two"
    sealed(train(typed(recipe, alone)))
    seal = verify(alone / "checkpoint").seal
    progress = verify(alone / "checkpoints" / "step-00000050").read("progress.json")
    perplexities = [one["figures"]["perplexity"] for one in json.loads(progress)["evaluations"]]
    perplexities.append(evaluation(alone)["perplexity"])
    assert len(perplexities) == 3
    assert perplexities == sorted(perplexities, reverse=True)
    assert perplexities[-1] < 0.7 * perplexities[0]
    loaded = load_language_model(alone / "checkpoint")
    assert (loaded.context, loaded.sealed.seal) == (CONTEXT, seal)
    assert "perplexity" in (alone / "report.html").read_text()

    assert sealed(train(typed(recipe, two, "--nproc", "2"))) == seal
    resumed = as_if_killed_at_the_end(two, tmp_path / "resumed")
    sealed(train(typed(recipe, resumed)))
    assert verify(resumed / "checkpoint").seal == seal
