"""Runs in portable arithmetic: one seal for every number of processes and threads, and every set of instructions."""

import json
import os
from pathlib import Path

import pytest
import yaml

from retort.core.forks.client import run
from retort.core.seal import verify
from retort.kernels.library import INSTRUCTIONS, usable
from tests.processes.forks import NATIVE, TRAINING, fork_server_for
from tests.tiny.runs import (
    as_if_killed_at_the_end,
    sealed,
    tiny_recipe,
    train,
    typed,
)
from tests.tiny.tasks import MADE, of_classifier, of_documents

server = fork_server_for(*TRAINING, *NATIVE)


@pytest.fixture(scope="module", params=MADE)
def recipe(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp(request.param)
    return MADE[request.param](root)


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


def test_processes_threads_and_an_older_set_of_instructions_make_no_difference(
    recipe: Path, alone: Path, tmp_path: Path
) -> None:
    environment = {**os.environ, INSTRUCTIONS: usable()[0].instructions}
    words = typed(recipe, tmp_path / "run", "--nproc", "3", settings=["train.threads=2"])
    done = run(["retort.train.main", *words], environment)
    assert sealed(done) == verify(alone / "checkpoint").seal


def test_an_interrupted_run_goes_on_by_others_and_by_an_older_set_of_instructions(
    recipe: Path, alone: Path, tmp_path: Path
) -> None:
    """The other variables choose kernels of PyTorch's libraries, and are refused where these compute."""
    resumed = as_if_killed_at_the_end(alone, tmp_path / "resumed")
    variables = {
        INSTRUCTIONS: usable()[0].instructions,
        "MKL_CBWR": "COMPATIBLE",
        "ATEN_CPU_CAPABILITY": "default",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
    }
    done = run(
        ["retort.train.main", *typed(recipe, resumed, "--nproc", "2")], {**os.environ, **variables}
    )
    assert sealed(done) == verify(alone / "checkpoint").seal
    assert "going on after step 8" in done.stderr


def test_a_run_from_before_there_was_a_choice_goes_on_natively(tmp_path: Path) -> None:
    recipe = of_classifier(tmp_path)
    whole = sealed(train(typed(recipe, tmp_path / "run", settings=["train.arithmetic=native"])))
    resumed = as_if_killed_at_the_end(tmp_path / "run", tmp_path / "resumed")
    written = resumed / "recipe.yaml"
    values = yaml.safe_load(written.read_text(encoding="utf-8"))
    del values["train"]["arithmetic"]
    written.write_text(yaml.safe_dump(values), encoding="utf-8")
    assert sealed(train(typed(recipe, resumed))) == whole


def test_native_arithmetic_is_another_result_and_refuses_the_variables(
    tmp_path: Path,
) -> None:
    """The control: what makes the seals equal is the arithmetic that the recipe names."""
    recipe = of_classifier(tmp_path)
    portable, native = tmp_path / "portable", tmp_path / "native"
    sealed(train(typed(recipe, portable)))
    words = typed(recipe, native, settings=["train.arithmetic=native"])
    refused = run(["retort.train.main", *words], {**os.environ, "MKL_CBWR": "COMPATIBLE"})
    assert (refused.returncode, "MKL_CBWR changes the arithmetic" in refused.stderr) == (2, True)
    assert sealed(train(words)) != verify(portable / "checkpoint").seal
    assert losses(native) == pytest.approx(losses(portable), rel=0.5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["train.arithmetic=exact"], "train.arithmetic"),
        (["train.arithmetic=portable", "backend=deepspeed"], "not for backend: deepspeed"),
    ],
)
def test_what_has_no_portable_arithmetic_is_refused_in_one_line(
    tmp_path: Path, settings: list[str], message: str
) -> None:
    done = train(typed(tiny_recipe(tmp_path), tmp_path / "run", settings=settings))
    assert done.returncode == 2
    assert message in done.stderr.splitlines()[-1]
    assert not (tmp_path / "run").exists()


def test_a_set_of_instructions_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    words = ["retort.train.main", *typed(of_classifier(tmp_path), tmp_path / "run")]
    done = run(words, {**os.environ, INSTRUCTIONS: "avx1024"})
    assert done.returncode == 2
    assert f"environment variable {INSTRUCTIONS}: avx1024 is not among" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_run_whose_tokens_see_their_own_document_has_one_seal(tmp_path: Path) -> None:
    """And is verified by a fresh process, which knows by the checkpoint what tokens see."""
    recipe = of_documents(tmp_path)
    seal = sealed(train(typed(recipe, tmp_path / "alone")))
    checkpoint = verify(tmp_path / "alone" / "checkpoint")
    assert isinstance(json.loads(checkpoint.read("model.json"))["boundary"], int)
    assert sealed(train(typed(recipe, tmp_path / "two", "--nproc", "2"))) == seal
    block = ["model.language_model.attention=block"]
    assert sealed(train(typed(recipe, tmp_path / "block", settings=block))) != seal
    assert "attention" not in json.dumps(verify(tmp_path / "block" / "checkpoint").manifest.config)
