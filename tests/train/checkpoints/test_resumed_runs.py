"""Runs that are interrupted go on by the same command, with any number of processes."""

import fcntl
import json
import os
import re
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from retort.core.errors import ConfigError, StorageError
from retort.core.seal import verify
from retort.train.main import main
from tests.processes.forks import TRAINING, fork_server_for
from tests.tiny.runs import (
    as_if_killed_at_the_end,
    begin,
    checkpoints,
    sealed,
    steps_written,
    tiny_recipe,
    train,
    typed,
    wait_until,
)

server = fork_server_for(*TRAINING)

STEPS = 200


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sections = {"train": {"steps": STEPS}, "checkpoints": {"every": 50}}
    return tiny_recipe(tmp_path_factory.mktemp("inputs"), sections)


@dataclass(frozen=True)
class Undisturbed:
    """The recipe, run by one process from beginning to end."""

    out: Path
    seal: str


@pytest.fixture(scope="module")
def undisturbed(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    sealed(train(typed(recipe, out)))
    return Undisturbed(out, verify(out / "checkpoint").seal)


@pytest.fixture
def out(undisturbed: Undisturbed, tmp_path: Path) -> Path:
    """The undisturbed run as a kill at its end leaves it."""
    return as_if_killed_at_the_end(undisturbed.out, tmp_path / "run")


@pytest.fixture
def resume(recipe: Path, undisturbed: Undisturbed, out: Path) -> Callable[..., str]:
    """Goes on with that run, with some settings, to the seal of the undisturbed one; what it says."""

    def resume(*settings: str) -> str:
        done = train(typed(recipe, out, settings=settings))
        assert sealed(done) == undisturbed.seal
        return done.stderr

    return resume


@pytest.mark.parametrize(
    ("signals", "processes"),
    [((signal.SIGTERM, 143), ("2", "3")), ((signal.SIGINT, 130), ("1", "2"))],
    ids=["SIGTERM to two processes, then three", "Ctrl-C to one process, then two"],
)
def test_a_signal_saves_and_the_same_command_goes_on_with_more_processes(
    recipe: Path,
    undisturbed: Undisturbed,
    tmp_path: Path,
    signals: tuple[int, int],
    processes: tuple[str, str],
) -> None:
    (number, code), (before, after) = signals, processes
    out = tmp_path / "run"
    process = begin(typed(recipe, out, "--nproc", before), tmp_path / "log")
    wait_until(lambda: steps_written(out), process)
    process.send_signal(number)
    process.wait()
    errors = (tmp_path / "log").read_text()
    assert process.returncode == code, errors
    assert "Traceback" not in errors
    assert errors.splitlines()[-1].startswith(("stopped", "interrupted"))
    step = steps_written(out)
    assert 0 < step < STEPS
    assert checkpoints(out)[-1] == f"step-{step:08}"

    done = train(typed(recipe, out, "--nproc", after))
    assert sealed(done) == undisturbed.seal
    assert f"going on after step {step}, from {out}" in done.stderr
    for name in ("metrics.jsonl", "logits.safetensors", "evaluation.json"):
        assert (out / name).read_bytes() == (undisturbed.out / name).read_bytes(), name


def test_a_run_that_only_lacked_its_report_trains_no_further_and_has_the_same_seal(
    resume: Callable[..., str],
) -> None:
    resume()


def test_a_damaged_newest_checkpoint_is_named_and_the_one_before_used(
    out: Path,
    resume: Callable[..., str],
) -> None:
    assert checkpoints(out) == ["step-00000100", "step-00000150"]
    damaged = out / "checkpoints" / "step-00000150" / "optimizer.safetensors"
    content = bytearray(damaged.read_bytes())
    content[-1] ^= 1
    damaged.write_bytes(content)
    said = resume()
    assert f"skipped a checkpoint: {damaged}: " in said
    assert "going on after step 100" in said
    *kept, aside = checkpoints(out)
    assert kept == ["step-00000100", "step-00000150"]
    assert aside.startswith("step-00000150.damaged-") and aside in said
    assert (out / "checkpoints" / aside / damaged.name).read_bytes() == content


def test_without_a_checkpoint_that_verifies_a_run_begins_anew(
    out: Path,
    resume: Callable[..., str],
) -> None:
    for name in checkpoints(out):
        (out / "checkpoints" / name / "manifest.json").unlink()
    assert resume().count("skipped a checkpoint") == 2


@pytest.mark.parametrize(
    ("setting", "difference"),
    [
        ("train.seed=3", "train.seed was 0 and is 3"),
        ("train.steps=300", "train.steps was 200 and is 300"),
        ("model.head.pooling=max", 'model.head.pooling was "mean" and is "max"'),
        ("backend=deepspeed", 'backend was "contract" and is "deepspeed"'),
        ("data.held_out=0.3", "data.held_out was 0.2 and is 0.3"),
    ],
)
def test_another_recipe_is_refused_and_every_key_that_differs_is_named(
    recipe: Path, undisturbed: Undisturbed, out: Path, setting: str, difference: str
) -> None:
    before = verify(out / "checkpoint").seal
    with pytest.raises(ConfigError, match=rf"another recipe: {re.escape(difference)}; choose"):
        main(typed(recipe, out, settings=[setting]))
    assert verify(out / "checkpoint").seal == before
    assert checkpoints(out) == checkpoints(undisturbed.out)


@pytest.mark.parametrize("what", ["weights", "tokens"])
def test_a_checkpoint_of_another_model_or_store_is_refused_and_the_field_named(
    recipe: Path, undisturbed: Undisturbed, out: Path, tmp_path: Path, what: str
) -> None:
    other = tiny_recipe(tmp_path / "other", {"train": {"steps": STEPS}})
    if what == "weights":
        config = tmp_path / "other" / "weights" / "config.json"
        values = {**json.loads(config.read_text()), "hidden_dropout_prob": 0.3}
        config.write_text(json.dumps(values))
    else:
        next((tmp_path / "other" / "documents" / "tech").iterdir()).write_text("of another kind")
        shutil.rmtree(out / "tokens")
    with pytest.raises(ConfigError, match=rf"belongs to another run: inputs\.{what} was .* and is"):
        main(typed(other, out))
    assert checkpoints(out) == checkpoints(undisturbed.out)


def test_checkpoints_may_be_kept_at_other_steps_when_a_run_goes_on(
    out: Path, resume: Callable[..., str]
) -> None:
    resume("checkpoints.every=30", "checkpoints.keep_last=1", "logging.tensorboard=false")
    assert checkpoints(out) == ["step-00000180"]


def test_what_a_killed_save_left_is_removed_and_never_taken_for_a_checkpoint(
    out: Path, resume: Callable[..., str]
) -> None:
    newest = out / "checkpoints" / "step-00000150"
    shutil.copytree(newest, newest.with_name(".step-00000199.sealing-0123abcd"))
    shutil.copytree(newest, newest.with_name(".step-00000050.removing-0123abcd"))
    resume()
    assert checkpoints(out) == ["step-00000100", "step-00000150"]


def test_two_processes_do_not_train_in_one_directory(
    recipe: Path, undisturbed: Undisturbed, out: Path
) -> None:
    descriptor = os.open(out / ".lock", os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        for more in ((), ("--overwrite",)):
            with pytest.raises(StorageError, match="run: another process is training there"):
                main(typed(recipe, out, *more))
    finally:
        os.close(descriptor)
    assert verify(out / "checkpoint").seal == undisturbed.seal


def test_a_finished_run_is_removed_only_when_asked_and_an_unfinished_one_too(
    recipe: Path, out: Path
) -> None:
    few = ["train.steps=2"]
    with pytest.raises(ConfigError, match="add --overwrite to start anew"):
        main(typed(recipe, out, settings=few))
    sealed(train(typed(recipe, out, "--overwrite", settings=few)))
    with pytest.raises(StorageError, match="holds a run already; add --overwrite"):
        main(typed(recipe, out, settings=few))
    assert checkpoints(out) == []
    assert steps_written(out) == 2


def test_metrics_that_were_altered_before_a_resume_are_refused_at_once(
    recipe: Path, undisturbed: Undisturbed, out: Path, resume: Callable[..., str]
) -> None:
    file = out / "metrics.jsonl"
    content = file.read_bytes()
    lines = content.splitlines(keepends=True)
    file.write_bytes(b"".join([*lines[:6], lines[6].replace(b"1", b"7", 1), *lines[7:]]))
    done = train(typed(recipe, out))
    assert done.returncode == 2
    assert "metrics.jsonl: is altered: its first 150 lines are not" in done.stderr
    assert len(file.read_bytes()) == len(content)
    # What is behind the checkpoint is written anew, whatever it was.
    file.write_bytes(b"".join(lines[:160]) + b"x\n")
    resume()
    assert file.read_bytes() == content
    assert (out / "report.html").read_bytes() == (undisturbed.out / "report.html").read_bytes()


def test_the_seal_of_a_finished_run_is_beside_its_checkpoint(undisturbed: Undisturbed) -> None:
    assert (undisturbed.out / "checkpoint.seal").read_text() == f"{undisturbed.seal}\n"
