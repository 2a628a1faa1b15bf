"""Cross-validation of a tiny classifier, as a user types it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from retort.core.errors import DataError, UserError, VerificationError
from retort.core.forks.client import run
from retort.core.seal import verify
from retort.data.store.store import TokenStore
from retort.train.folds import main, read_fold
from tests.processes.forks import TRAINING, fork_server_for
from tests.tiny.inputs import write_documents, write_recipe, write_weights

server = fork_server_for(*TRAINING)
FOLDS = 3


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("inputs")
    documents = write_documents(root / "documents")
    file = write_recipe(root / "tiny.yaml", documents, write_weights(root / "weights"))
    values = yaml.safe_load(file.read_text())
    values["train"]["steps"] = 3
    file.write_text(yaml.safe_dump(values))
    return file


def typed(recipe: Path, out: Path, *more: str) -> list[str]:
    return ["--config", str(recipe), "--folds", str(FOLDS), "--out", str(out), *more]


def process(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return run(["retort.train.folds", *arguments])


@pytest.fixture(scope="module")
def made(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("folds") / "out"
    done = process(typed(recipe, out))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 1, "the seals of the folds are not the result"
    assert lines[0].startswith("mean accuracy 0.")
    assert "(Student's t, 3 folds: 0." in lines[0]
    return out


def test_every_document_is_held_out_once_and_the_mean_is_of_all_folds(made: Path) -> None:
    found = json.loads((made / "folds.json").read_text())
    held_out: list[str] = []
    for number, fold in enumerate(found["folds"]):
        run = made / f"fold-{number}"
        part = TokenStore.open(run / "tokens").part("held_out")
        held_out += [part.digest(document) for document in range(len(part))]
        evaluation = json.loads((run / "evaluation.json").read_text())
        assert fold["fold"] == number
        assert fold["seal"] == verify(run / "checkpoint").seal
        assert (fold["accuracy"], fold["documents"]) == (
            evaluation["accuracy"],
            evaluation["documents"],
        )
    assert len(held_out) == len(set(held_out)) == found["documents"] == 60
    accuracies = [fold["accuracy"] for fold in found["folds"]]
    assert found["accuracy"] == pytest.approx(sum(accuracies) / FOLDS)
    low, high = found["interval"]
    assert 0.0 <= low <= found["accuracy"] <= high <= 1.0
    low, high = found["pooled_interval"]
    assert low <= found["pooled_accuracy"] <= high
    page = (made / "folds.html").read_text()
    assert f"{found['accuracy']:.2%}" in page
    assert all(fold["seal"][:19] in page for fold in found["folds"])


def test_finished_folds_are_not_trained_again(
    made: Path, recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {file: file.stat().st_mtime_ns for file in made.glob("fold-*/run.json")}
    content = (made / "folds.json").read_bytes()
    assert main(typed(recipe, made, "--json")) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer == json.loads(content)
    assert (made / "folds.json").read_bytes() == content
    assert {file: file.stat().st_mtime_ns for file in made.glob("fold-*/run.json")} == before


def test_folds_of_another_recipe_are_not_counted(made: Path, recipe: Path) -> None:
    with pytest.raises(UserError, match=r"fold-0/recipe\.yaml: is another recipe .* another --out"):
        main(typed(recipe, made, "--set", "train.seed=5"))


def test_a_fold_that_fails_is_counted_and_ends_the_command_with_1(
    recipe: Path, tmp_path: Path
) -> None:
    options = ["--folds", "2", "--out", str(tmp_path / "out")]
    low = ("--set", "evaluate.min_accuracy=1.0", "--set", "optimizer.lr=1e-9")
    done = process(["--config", str(recipe), *options, *low])
    assert (done.returncode, done.stdout) == (1, "")
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"error: {tmp_path}/out/fold-0: accuracy 0.")
    found = json.loads((tmp_path / "out" / "folds.json").read_text())
    assert ["under evaluate.min_accuracy" in fold["failure"] for fold in found["folds"]] == [
        True
    ] * 2
    assert "Failed: fold 0" in (tmp_path / "out" / "folds.html").read_text()
    with pytest.raises(VerificationError, match="out/fold-0: accuracy"):
        main(["--config", str(recipe), *options, *low])


def test_a_mistake_that_only_training_finds_ends_with_2(recipe: Path, tmp_path: Path) -> None:
    done = process(typed(recipe, tmp_path / "out", "--set", "data.labels=[sport]"))
    assert done.returncode == 2
    said, last = done.stderr.splitlines()[-2:]
    assert "has the label 'tech'" in said
    assert last.endswith("out/fold-0: training ended with exit code 2; what it said is above")


def test_sigterm_ends_the_training_too(recipe: Path, tmp_path: Path) -> None:
    arguments = typed(recipe, tmp_path / "out", "--set", "train.steps=1000000")
    command = [sys.executable, "-m", "retort.train.folds", *arguments]
    folds = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert folds.stderr is not None
    for line in folds.stderr:
        if line.startswith("step "):
            break
    folds.send_signal(signal.SIGTERM)
    rest = folds.stderr.read()  # ends when nobody holds it any more, the training least of all
    folds.stderr.close()
    assert folds.wait() == 143
    assert "Traceback" not in rest
    assert not (tmp_path / "out" / "folds.json").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--folds", "1"], "--folds 1: give 2 or more"),
        (["--set", "data.fold=2"], r"data\.fold follows from --folds"),
        (["--set", " data.held_out = 0.5"], r"data\.held_out follows from --folds"),
        (["--set", "train.stepz=1"], "unknown key train.stepz"),
    ],
)
def test_a_wrong_command_trains_nothing(
    recipe: Path, tmp_path: Path, more: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        main(typed(recipe, tmp_path / "out", *more))
    assert os.listdir(tmp_path) == []


def test_an_evaluation_of_another_kind_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "evaluation.json").write_text('{"failure": null, "perplexity": 3.0}')
    with pytest.raises(DataError, match=r"evaluation\.json: is not the evaluation of a classifier"):
        read_fold(tmp_path, 0)
