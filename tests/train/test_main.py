"""Whole runs of a tiny classifier, as a user types them."""

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

import pytest

from retort.core.errors import StorageError, UserError
from retort.core.forks.client import Captured
from retort.core.seal import verify
from retort.data.store.store import TokenStore
from retort.train.main import main
from tests.processes.forks import TRAINING, fork_server_for
from tests.tiny.runs import begin, sealed, tiny_recipe, train, train_anew, typed

server = fork_server_for(*TRAINING)

FILES = {
    ".lock",
    "README.md",
    "checkpoint",
    "checkpoint.seal",
    "checkpoints",
    "evaluation.json",
    "logits.safetensors",
    "metrics.jsonl",
    "recipe.yaml",
    "report.html",
    "run.json",
    "tensorboard",
    "timings.html",
    "timings.jsonl",
    "tokens",
}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sections = {"checkpoints": {"every": 5}, "train": {"threads": 2}, "logging": {"every": 6}}
    return tiny_recipe(tmp_path_factory.mktemp("inputs"), sections)


@dataclass(frozen=True)
class FirstRun:
    """The recipe, run by one process."""

    out: Path
    seal: str
    errors: str


@pytest.fixture(scope="module")
def first(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> FirstRun:
    out = tmp_path_factory.mktemp("first") / "run"
    done = train(typed(recipe, out))
    assert done.returncode == 0, done.stderr
    match = re.fullmatch(rf"seal (sha256:[0-9a-f]{{64}}) {out}/checkpoint\n", done.stdout)
    assert match, done.stdout
    return FirstRun(out, match[1], done.stderr)


def test_prometheus_reads_a_run_while_it_trains_and_changes_no_bit(
    first: FirstRun, recipe: Path, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    arguments = typed(
        recipe, tmp_path / "long", "--metrics-port", "0", settings=["train.steps=100000"]
    )
    process = begin(arguments, log)
    try:
        while not (found := re.search(r"^metrics: (http://\S+)$", log.read_text(), re.MULTILINE)):
            assert process.poll() is None, log.read_text()
        while True:
            with urlopen(found[1]) as answer:
                told = re.search(r"^retort_train_step (\S+)$", answer.read().decode(), re.MULTILINE)
            assert told
            if float(told[1]) > 0:
                break
    finally:
        process.kill()
        process.wait()
    assert sealed(train(typed(recipe, tmp_path / "run", "--metrics-port", "0"))) == first.seal


def test_a_run_holds_all_that_is_promised(first: FirstRun, recipe: Path) -> None:
    out = first.out
    assert set(os.listdir(out)) == FILES
    steps = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [step["step"] for step in steps] == list(range(1, 13))
    names = {"step", "loss", "losses", "lr", "gradient_norm", "samples", "tokens"}
    assert steps[0].keys() == names
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
    assert sorted(os.listdir(out / "checkpoints")) == ["step-00000005", "step-00000010"]
    facts = json.loads((out / "run.json").read_text())
    assert facts["host"]["libraries"]["torch"]
    assert (facts["processes"], facts["seconds"] > 0) == (1, True)
    timings = [json.loads(line) for line in (out / "timings.jsonl").read_text().splitlines()]
    assert [timing["step"] for timing in timings] == [6, 12]
    for shown in (
        "lr: 0.01",
        "step 12/12",
        "accuracy",
        "//serve -- --check",
    ):
        assert shown in first.errors
    sealed = (out / "checkpoint" / "manifest.json").read_text()
    for secret in (str(out.parent), str(recipe.parent), os.uname().nodename):
        assert secret not in sealed


def test_a_store_that_is_there_gives_the_seal_of_the_run_that_made_it(
    recipe: Path, first: FirstRun, tmp_path: Path
) -> None:
    section = f"data={{source: token_store, store: {first.out}/tokens, max_tokens: 16}}"
    out = tmp_path / "run"
    done = train(typed(recipe, out, settings=[section]))
    assert done.stdout.splitlines()[-1] == f"seal {first.seal} {out}/checkpoint"
    assert set(os.listdir(out)) == FILES - {"tokens"}
    assert str(first.out / "tokens") in (out / "recipe.yaml").read_text()
    assert str(first.out) not in (out / "checkpoint" / "manifest.json").read_text()


@pytest.mark.parametrize("own", [True, False])
def test_the_card_names_the_data_and_gives_a_command_that_works(
    recipe: Path, first: FirstRun, tmp_path: Path, own: bool
) -> None:
    out = first.out
    if not own:
        out = tmp_path / "with space" / "run"
        section = f"data={{source: token_store, store: {first.out}/tokens, max_tokens: 16}}"
        sealed(train(typed(recipe, out, settings=[section])))
    card = (out / "README.md").read_text()
    assert "name: directory" in card and "`directory`, sealed as `sha256:" in card
    assert "base_model: weights\n" in card and "fine-tuned from `weights`" in card
    assert "0.0 million" not in card and " parameters, fine-tuned" in card
    typed_there = card.split("```sh\n")[1].split("```")[0]
    forked = "tests.processes.with_forks run retort.evaluate.verify"
    anew = "retort.evaluate.verify" if own else forked
    for place, run, module in ((out, ".", anew), (tmp_path, str(out), forked)):
        command = typed_there.replace(
            "./tools/bazel run //train:verify --", f"{sys.executable} -m {module}"
        ).replace("RUN=.", f"RUN={shlex.quote(run)}")
        done = subprocess.run(
            ["bash", "-euc", command], cwd=place, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert first.seal in done.stdout


def test_a_report_has_no_path_of_this_machine(first: FirstRun, recipe: Path) -> None:
    for name in ("report.html", "README.md"):
        page = (first.out / name).read_text()
        assert str(recipe.parent) not in page and str(first.out) not in page
    assert "directory: …/documents" in (first.out / "report.html").read_text()


def test_a_recipe_of_another_name_gives_the_same_seal(
    recipe: Path, first: FirstRun, tmp_path: Path
) -> None:
    renamed = tmp_path / "renamed.yaml"
    renamed.write_bytes(recipe.read_bytes())
    assert sealed(train(typed(renamed, tmp_path / "run"))) == first.seal


def test_another_seed_has_another_seal_and_a_run_is_replaced_only_when_asked(
    recipe: Path, first: FirstRun, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    sealed(train(typed(recipe, out, settings=["train.seed=5"])))
    before = verify(out / "checkpoint").seal
    assert before != first.seal
    with pytest.raises(StorageError, match="run: holds a run already; add --overwrite"):
        main(typed(recipe, out))
    assert verify(out / "checkpoint").seal == before
    done = train(typed(recipe, out, "--overwrite"))
    assert done.stdout.splitlines()[-1] == f"seal {first.seal} {out}/checkpoint"
    assert os.listdir(tmp_path) == ["run"]


def test_what_is_not_a_run_is_never_replaced(recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").touch()
    with pytest.raises(StorageError, match="precious: holds something else than a run"):
        main(typed(recipe, tmp_path / "precious", "--overwrite"))
    assert os.listdir(tmp_path) == ["precious"]
    assert os.listdir(tmp_path / "precious") == ["file"]


def test_a_run_under_its_accuracy_fails_and_is_kept_for_a_look(
    recipe: Path, tmp_path: Path
) -> None:
    low = ("evaluate.min_accuracy=1.0", "optimizer.lr=1e-9")
    done = train(typed(recipe, tmp_path / "run", settings=low))
    assert (done.returncode, done.stdout) == (1, "")
    assert re.search(r"accuracy 0\.\d+ is under evaluate.min_accuracy", done.stderr)
    assert set(os.listdir(tmp_path / "run")) == FILES
    assert "Failed: accuracy" in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give --config FILE_OR_NAME and --out DIR"),
        (["--config", "smoke"], "give --config FILE_OR_NAME and --out DIR"),
        (["--config", "smok", "--out", "x"], "did you mean smoke?"),
        (["--config", "./missing.yaml", "--out", "x"], "missing.yaml: does not exist"),
        (["--config", "smoke", "--out", "x", "--set", "a.b=1"], "unknown key a"),
        (["--config", "~nosuchuser/x.yaml", "--out", "x"], "there is no such user"),
        (["--config", "smoke", "--out", "~nosuchuser/x"], "there is no such user"),
        (["--config", "smoke", "--out", "a" * 300], "is too long for a name: 300 bytes"),
        (["--config", "smoke", "--out", "a/" * 3000], "is too long for a path"),
        (["--config", "smoke", "--out", os.fsdecode(b"lat\xff")], "is not UTF-8"),
        (["--config", "smoke", "--out", "a\nb"], "holds a line break"),
        (["--config", "smoke", "--out", "/dev/null/x"], "/dev/null/x: cannot be written"),
        (
            ["--config", "smoke", "--out", "x", "--collective-timeout", "1" + "0" * 17],
            "--collective-timeout: 100000000000000000 is more than",
        ),
        (
            ["--config", "smoke", "--out", "x", "--nproc", "1" + "0" * 12],
            "--nproc: 1000000000000 is",
        ),
    ],
)
def test_a_wrong_command_is_refused(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BUILD_WORKING_DIRECTORY", str(tmp_path))
    with pytest.raises(UserError, match=re.escape(message)):
        main(arguments)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--nproc", "5"], "--nproc: 5 processes cannot share train.shards 4"),
        (["--set", "train.shards=3"], "train.batch 4 cannot be cut into train.shards 3"),
    ],
)
def test_shards_that_cannot_be_shared_are_refused_before_anything_starts(
    recipe: Path, more: list[str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        main(typed(recipe, tmp_path / "run", *more))
    assert os.listdir(tmp_path) == []


def test_processes_started_by_hand_that_are_too_many_are_one_line(
    recipe: Path, tmp_path: Path
) -> None:
    one_shard = typed(recipe, tmp_path / "run", settings=["train.shards=1"])
    environment = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost"}
    with socket.create_server(("localhost", 0)) as server:
        port = str(server.getsockname()[1])
    started = [
        Captured(
            ["retort.train.main", *one_shard],
            {**os.environ, **environment, "MASTER_PORT": port, "RANK": str(rank)},
        )
        for rank in range(2)
    ]
    for process in started:
        done = process.wait()
        assert done.returncode == 2
        assert done.stderr.splitlines()[-1].startswith(
            "error: train.shards: 1 logical shards cannot be shared by 2 processes"
        )


def test_a_hub_that_is_away_is_an_error_and_no_other_data(tmp_path: Path) -> None:
    arguments = ["--config", "agnews_distilbert", "--out", str(tmp_path / "run")]
    done = train_anew(arguments, HF_ENDPOINT="http://127.0.0.1:9", HF_HOME=str(tmp_path / "hub"))
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: model distilbert/distilbert-base-uncased is not in the local")
    assert "choose a recipe that needs no hub, such as bbc_minilm" in last
    assert not (tmp_path / "run" / "tokens").exists()


@pytest.mark.parametrize("processes", [1, 2])
def test_ctrl_c_while_the_libraries_are_loaded_is_one_line(
    recipe: Path, tmp_path: Path, processes: int
) -> None:
    arguments = typed(recipe, tmp_path / "run", "--nproc", str(processes))
    process = subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", "retort.train.main", *arguments],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    # A process that only starts others loads no torch.
    library = "torch." if processes == 1 else "pydantic."
    for line in process.stderr:
        if "| " in line and line.split("|")[-1].strip().startswith(library):
            break
    process.send_signal(signal.SIGINT)
    said = [line for line in process.stderr if not line.startswith("import time:")]
    process.stderr.close()
    assert process.wait() == 130
    assert said == ["interrupted: nothing half-written is left\n"]


def test_the_list_names_the_recipes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    assert "smoke" in capsys.readouterr().out.splitlines()
