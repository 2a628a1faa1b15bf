"""Whole runs of a tiny classifier, as a user types them."""

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from retort.core.errors import StorageError, UserError, VerificationError
from retort.core.seal import verify
from retort.data.store import TokenStore
from retort.train.main import main
from tests.tiny import write_documents, write_recipe, write_weights

FILES = {
    "checkpoint",
    "evaluation.json",
    "logits.safetensors",
    "metrics.jsonl",
    "recipe.yaml",
    "report.html",
    "run.json",
    "tokens",
}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("inputs")
    documents = write_documents(root / "documents")
    return write_recipe(root / "tiny.yaml", documents, write_weights(root / "weights"))


def typed(recipe: Path, out: Path, *more: str) -> list[str]:
    return ["--config", str(recipe), "--out", str(out), *more]


def process(
    arguments: list[str], umask: int = 0o022, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Train in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "retort.train.main", *arguments],
        capture_output=True,
        text=True,
        check=False,
        umask=umask,
        env={**os.environ, **environment},
    )


@dataclass(frozen=True)
class FirstRun:
    """The recipe, run by one process in one environment."""

    out: Path
    seal: str
    errors: str


@pytest.fixture(scope="module")
def first(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> FirstRun:
    out = tmp_path_factory.mktemp("first") / "run"
    arguments = typed(recipe, out, "--set", "train.threads=2")
    done = process(arguments, PYTHONHASHSEED="1", TZ="UTC", OMP_NUM_THREADS="1", LANG="C")
    assert done.returncode == 0, done.stderr
    match = re.fullmatch(rf"seal (sha256:[0-9a-f]{{64}}) {out}/checkpoint\n", done.stdout)
    assert match, done.stdout
    return FirstRun(out, match[1], done.stderr)


def test_a_run_holds_all_that_is_promised(first: FirstRun, recipe: Path) -> None:
    out = first.out
    assert set(os.listdir(out)) == FILES
    steps = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [step["number"] for step in steps] == list(range(1, 13))
    assert steps[0].keys() == {"number", "loss", "lr", "gradient_norm"}
    store = TokenStore.open(out / "tokens", (out / "checkpoint" / "tokenizer.json").read_bytes())
    checkpoint = verify(out / "checkpoint", kind="checkpoint")
    assert checkpoint.seal == first.seal
    assert checkpoint.manifest.inputs["tokens"] == store.sealed.seal
    evaluation = json.loads((out / "evaluation.json").read_text())
    assert evaluation["failure"] is None
    assert evaluation["documents"] == len(store.part("held_out"))
    report = (out / "report.html").read_text()
    assert checkpoint.seal in report
    assert f"{evaluation['accuracy']:.1%}" in report
    facts = json.loads((out / "run.json").read_text())
    assert facts["host"]["libraries"]["torch"]
    assert facts["seconds"] > facts["training_seconds"] > facts["reading_seconds"] > 0
    assert re.search(
        r"training took [\d.]+ s, of which [\d.]+ s \([\d.]+ %\) to read batches", first.errors
    )
    for shown in (
        "lr: 0.01",
        "step 12/12",
        "samples/s",
        "s left",
        "accuracy",
        "//serve -- --check",
    ):
        assert shown in first.errors
    sealed = (out / "checkpoint" / "manifest.json").read_text()
    for secret in (str(out.parent), str(recipe.parent), os.uname().nodename):
        assert secret not in sealed


def test_another_process_place_and_environment_give_the_same_seal(
    recipe: Path, first: FirstRun, tmp_path: Path
) -> None:
    out = tmp_path / "somewhere else" / "run"
    done = process(
        typed(recipe, out, "--set", "train.threads=2", "--json"),
        umask=0o077,
        PYTHONHASHSEED="2",
        TZ="Asia/Kathmandu",
        OMP_NUM_THREADS="3",
        LANG="tr_TR.UTF-8",
        USER="nobody",
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["seal"], answer["path"]) == (first.seal, str(out / "checkpoint"))
    for name in ("report.html", "metrics.jsonl", "logits.safetensors", "evaluation.json"):
        assert (out / name).read_bytes() == (first.out / name).read_bytes(), name


def test_a_store_that_is_there_gives_the_seal_of_the_run_that_made_it(
    recipe: Path, first: FirstRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    section = f"data={{source: token_store, store: {first.out}/tokens, max_tokens: 16}}"
    out = tmp_path / "run"
    assert main(typed(recipe, out, "--set", "train.threads=2", "--set", section)) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"seal {first.seal} {out}/checkpoint"
    assert set(os.listdir(out)) == FILES - {"tokens"}
    assert str(first.out / "tokens") in (out / "recipe.yaml").read_text()
    assert str(first.out) not in (out / "checkpoint" / "manifest.json").read_text()


def test_a_recipe_of_another_name_gives_the_same_seal(
    recipe: Path, first: FirstRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    renamed = tmp_path / "renamed.yaml"
    renamed.write_bytes(recipe.read_bytes())
    assert main(typed(renamed, tmp_path / "run", "--set", "train.threads=2")) == 0
    assert first.seal in capsys.readouterr().out


def test_another_seed_has_another_seal_and_a_run_is_replaced_only_when_asked(
    recipe: Path, first: FirstRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    two_threads = ("--set", "train.threads=2")
    assert main(typed(recipe, out, *two_threads, "--set", "train.seed=5")) == 0
    before = verify(out / "checkpoint").seal
    assert before != first.seal
    with pytest.raises(StorageError, match="run: holds a run already; add --overwrite"):
        main(typed(recipe, out))
    assert verify(out / "checkpoint").seal == before
    assert main(typed(recipe, out, *two_threads, "--overwrite")) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"seal {first.seal} {out}/checkpoint"
    assert os.listdir(tmp_path) == ["run"]


def test_what_is_not_a_run_is_never_replaced(recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").touch()
    with pytest.raises(StorageError, match="precious: holds something else than a run"):
        main(typed(recipe, tmp_path / "precious", "--overwrite"))
    assert os.listdir(tmp_path) == ["precious"]
    assert os.listdir(tmp_path / "precious") == ["file"]


def test_a_run_under_its_accuracy_fails_and_is_kept_for_a_look(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    low = ("--set", "evaluate.min_accuracy=1.0", "--set", "optimizer.lr=1e-9")
    with pytest.raises(VerificationError, match=r"accuracy 0\.\d+ is under evaluate.min_accuracy"):
        main(typed(recipe, tmp_path / "run", *low))
    assert capsys.readouterr().out == ""
    assert set(os.listdir(tmp_path / "run")) == FILES
    assert "Failed: accuracy" in (tmp_path / "run" / "report.html").read_text()


def test_ctrl_c_ends_training_with_one_line_and_nothing_half_written(
    recipe: Path, tmp_path: Path
) -> None:
    arguments = typed(recipe, tmp_path / "run", "--set", "train.steps=1000000")
    command = [sys.executable, "-m", "retort.train.main", *arguments]
    training = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert training.stderr is not None
    for line in training.stderr:
        if line.startswith("step 1/"):
            break
    training.send_signal(signal.SIGINT)
    rest = training.stderr.read()
    assert training.wait() == 130
    training.stderr.close()
    assert rest.splitlines()[-1] == "interrupted: nothing half-written is left"
    assert "Traceback" not in rest
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give --config FILE_OR_NAME and --out DIR"),
        (["--config", "smoke"], "give --config FILE_OR_NAME and --out DIR"),
        (["--config", "smok", "--out", "x"], "did you mean smoke?"),
        (["--config", "./missing.yaml", "--out", "x"], "missing.yaml: does not exist"),
        (["--config", "smoke", "--out", "x", "--set", "a.b=1"], "unknown key a"),
    ],
)
def test_a_wrong_command_is_refused(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BUILD_WORKING_DIRECTORY", str(tmp_path))
    with pytest.raises(UserError, match=re.escape(message)):
        main(arguments)
    assert os.listdir(tmp_path) == []


def test_a_hub_that_is_away_is_an_error_and_no_other_data(tmp_path: Path) -> None:
    arguments = ["--config", "agnews_distilbert", "--out", str(tmp_path / "run")]
    done = process(arguments, HF_ENDPOINT="http://127.0.0.1:9", HF_HOME=str(tmp_path / "hub"))
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: model distilbert/distilbert-base-uncased is not in the local")
    assert "choose a recipe that needs no hub, such as bbc_minilm" in last
    assert not (tmp_path / "run").exists()


def test_the_list_names_the_recipes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    assert "smoke" in capsys.readouterr().out.splitlines()
