"""Runs in portable arithmetic: one seal for every number of processes and threads, and every set of instructions."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from retort.core.seal import verify
from retort.kernels.library import INSTRUCTIONS, usable
from tests.processes.forks import TRAINING, fork_server_for
from tests.tiny.inputs import COMMON
from tests.tiny.runs import (
    as_if_killed_at_the_end,
    sealed,
    tiny_recipe,
    train,
    train_anew,
    typed,
)

server = fork_server_for(*TRAINING)
TRAIN = {"steps": 9, "batch": 12, "shards": 4, "precision": "bfloat16", "arithmetic": "portable"}
MORE: Mapping[str, Mapping[str, object]] = {
    "train": TRAIN,
    "schedule": {"warmup": 0.2, "decay": "cosine"},
    "checkpoints": {"every": 4},
}


def of_classifier(root: Path) -> Path:
    head = {"pooling": "attention", "layer_norm": True, "dropout": 0.2}
    train = {**TRAIN, "label_smoothing": 0.1, "class_weights": "balanced"}
    model = {"head": head, "freeze": {"embeddings": True}}
    return tiny_recipe(root, {**MORE, "train": train, "model": model})


def of_embeddings(root: Path) -> Path:
    model = {"embeddings": {"temperature": 0.1}}
    return tiny_recipe(root, {**MORE, "model": model, "evaluate": {"min_accuracy": 0.1}})


def of_language_model(root: Path, family: str) -> Path:
    lines = [" ".join(COMMON[(n * k) % 10] for k in range(4 + n % 9)) for n in range(200)]
    (root / "lines.txt").write_text("\n".join(f"{line} {n}" for n, line in enumerate(lines)))
    sizes = {"hidden": 32, "layers": 2, "heads": 4, "context": 16, "dropout": 0.1}
    shared = {"kv_heads": 2} if family == "llama" else {}
    values = {
        **MORE,
        "data": {
            "source": "text",
            "files": {"paths": [str(root / "lines.txt")]},
            "near_duplicates": {"action": "ignore"},
            "max_tokens": 16,
        },
        "tokenizer": {"train": {"model": "bpe", "vocabulary": 300}},
        "model": {"language_model": {"family": family, **sizes, **shared}},
        "optimizer": {"lr": 1e-2},
    }
    (root / "language.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    return root / "language.yaml"


@pytest.fixture(scope="module", params=["classifier", "embeddings", "llama", "gpt2"])
def recipe(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp(request.param)
    if request.param == "classifier":
        return of_classifier(root)
    return (
        of_embeddings(root)
        if request.param == "embeddings"
        else of_language_model(root, request.param)
    )


@pytest.fixture(scope="module")
def alone(recipe: Path) -> Path:
    """The run of one process and one thread."""
    run = recipe.parent / "alone"
    sealed(train(typed(recipe, run)))
    return run


def losses(run: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_it_learns_and_its_seal_says_nothing_of_threads(alone: Path) -> None:
    first, *others = losses(alone)
    assert min(others) < first
    checkpoint = verify(alone / "checkpoint")
    assert "threads" not in json.dumps(checkpoint.manifest.config)
    assert json.loads(checkpoint.read("model.json"))["arithmetic"] == "portable"


@pytest.mark.parametrize(("processes", "threads"), [(1, 2), (2, 1), (3, 2)])
def test_processes_and_threads_make_no_difference(
    recipe: Path, alone: Path, tmp_path: Path, processes: int, threads: int
) -> None:
    settings = [f"train.threads={threads}"]
    done = train(typed(recipe, tmp_path / "run", "--nproc", str(processes), settings=settings))
    assert sealed(done) == verify(alone / "checkpoint").seal


def test_an_interrupted_run_goes_on_with_other_threads_and_processes(
    recipe: Path, alone: Path, tmp_path: Path
) -> None:
    resumed = as_if_killed_at_the_end(alone, tmp_path / "resumed")
    (resumed / "checkpoint.seal").unlink(missing_ok=True)
    settings = ["train.threads=2"]
    done = train(typed(recipe, resumed, "--nproc", "2", settings=settings))
    assert sealed(done) == verify(alone / "checkpoint").seal
    assert "going on after step 8" in done.stderr


def test_every_set_of_instructions_comes_to_the_same_seal_whatever_libraries_are_told(
    recipe: Path, alone: Path, tmp_path: Path
) -> None:
    """The variables would choose other kernels of PyTorch's libraries; there are none here to choose."""
    variables = {
        "MKL_CBWR": "COMPATIBLE",
        "ATEN_CPU_CAPABILITY": "default",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
    }
    for kernels in usable():
        out = tmp_path / kernels.instructions
        variables[INSTRUCTIONS] = kernels.instructions
        done = train_anew(typed(recipe, out), 0o022, **variables)
        assert sealed(done) == verify(alone / "checkpoint").seal


def test_native_arithmetic_is_another_result(recipe: Path, alone: Path, tmp_path: Path) -> None:
    """The control: what makes the seals equal is the arithmetic that the recipe names."""
    done = train(typed(recipe, tmp_path / "run", settings=["train.arithmetic=native"]))
    assert sealed(done) != verify(alone / "checkpoint").seal
    both = list(zip(losses(alone), losses(tmp_path / "run"), strict=True))
    assert [one for one, _ in both] == pytest.approx([other for _, other in both], rel=0.5)
