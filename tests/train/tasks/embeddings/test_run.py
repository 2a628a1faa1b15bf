"""Embeddings from a recipe to their model card, with one seal for every number of processes."""

import json
from pathlib import Path

import pytest

from retort.core.errors import SealError, VerificationError
from retort.core.seal import verify
from retort.evaluate.verify import main as verify_main
from retort.models.embeddings import load_embedder
from retort.serve.main import main as serve
from tests.processes.forks import TRAINING, fork_server_for
from tests.tiny.runs import evaluation, sealed, tiny_recipe, train, typed

server = fork_server_for(*TRAINING)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sections: dict[str, dict[str, object]] = {
        "model": {"embeddings": {"temperature": 0.1}},
        "optimizer": {"lr": 3e-3},
        "train": {"steps": 30, "batch": 16, "shards": 2, "precision": "bfloat16"},
        "evaluate": {"every": 10, "min_accuracy": 0.1},
    }
    return tiny_recipe(tmp_path_factory.mktemp("embeddings"), sections)


@pytest.fixture(scope="module")
def alone(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one process."""
    run = tmp_path_factory.mktemp("run") / "alone"
    sealed(train(typed(recipe, run)))
    return run


def test_two_processes_come_to_the_seal_of_one_and_another_seed_does_not(
    recipe: Path, alone: Path, tmp_path: Path
) -> None:
    seal = verify(alone / "checkpoint").seal
    assert sealed(train(typed(recipe, tmp_path / "two", "--nproc", "2"))) == seal
    sealed(train(typed(recipe, tmp_path / "other", settings=["train.seed=1"])))
    assert verify(tmp_path / "other" / "checkpoint").seal != seal


def test_it_learns_to_tell_a_text_from_the_others(alone: Path) -> None:
    lines = (alone / "metrics.jsonl").read_text().splitlines()
    losses = [json.loads(line)["loss"] for line in lines]
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])
    assert load_embedder(alone / "checkpoint").sealed.seal == verify(alone / "checkpoint").seal


def test_report_and_model_card_speak_of_neighbours(alone: Path) -> None:
    measured = evaluation(alone)
    assert measured["pairs"] == measured["documents"] * (measured["documents"] - 1) // 2
    report, card = ((alone / name).read_text() for name in ("report.html", "README.md"))
    assert f"precision at 1 {measured['accuracy']:.1%}" in report
    assert "Nearest documents by topic" in report
    assert "held-out embeddings equal, bit for bit" in report
    assert "pipeline_tag: sentence-similarity" in card
    assert "type: precision_at_1" in card
    assert f"| {measured['spearman']:.4f} |" in card
    assert '--embeddings "$RUN"/embeddings.safetensors' in card
    for text in (report, card):
        assert "confusion" not in text.lower()


def test_the_verifying_process_holds_the_checkpoint_to_its_vectors_and_demands(
    alone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--checkpoint", str(alone / "checkpoint"), "--store", str(alone / "tokens")]
    command += ["--embeddings", str(alone / "embeddings.safetensors")]
    assert verify_main(command) == 0
    assert capsys.readouterr().out.startswith(f"seal {verify(alone / 'checkpoint').seal}")
    with pytest.raises(VerificationError, match=r"is under evaluate\.min_accuracy 1\.0"):
        verify_main([*command, "--min-accuracy", "1.0"])


def test_the_server_of_labels_refuses_it(alone: Path) -> None:
    with pytest.raises(SealError, match="of an embedding model, and a classifier is needed"):
        serve(["--port", "0", "--checkpoint", str(alone / "checkpoint")])
