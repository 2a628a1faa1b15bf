"""A writer that is killed at any moment leaves no wrong store, and its work is taken up."""

import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from retort.core.seal import verify
from retort.data.store.shards import read_shard
from retort.data.store.store import TokenStore
from tests.processes.forks import PREPARATION, fork_server_for
from tests.processes.prepare import (
    Preparing,
    kept,
    living,
    prepare,
    start,
    wait_for_the_end_of_all,
    wait_until,
    write_recipe,
)
from tests.tiny.store import bert_tokenizer, documents, write_corpus

server = fork_server_for(*PREPARATION)

COUNT = 3000
FILES = 20
Kill = Callable[[int], object]


def kill_group(number: int) -> None:
    os.killpg(number, signal.SIGKILL)


def kill_parent(number: int) -> None:
    os.kill(number, signal.SIGKILL)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight megabytes in twenty files."""
    root = tmp_path_factory.mktemp("corpus")
    config = write_corpus(root / "documents", documents(COUNT, words=400), FILES)
    return write_recipe(root, config, bert_tokenizer())


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of half of the documents."""
    root = tmp_path_factory.mktemp("old")
    config = write_corpus(root / "documents", documents(COUNT // 2, words=400), FILES)
    prepare(write_recipe(root, config, bert_tokenizer()), root / "store")
    return root / "store"


def moments(name: str, target: Path, chance: random.Random, seconds: float) -> Callable[[], object]:
    """What comes true at some moment of a run that takes about so many seconds."""
    end = time.monotonic() + chance.uniform(0, seconds)
    wanted = chance.randint(1, 2 * FILES)
    conditions: dict[str, Callable[[], object]] = {
        "time": lambda: time.monotonic() > end,
        "tokens": lambda: len(kept(target)) >= wanted,
        "sealing": lambda: list(target.parent.glob(".store.sealing-*")),
    }
    return conditions[name]


def test_ten_kills_at_random_moments_change_nothing(
    recipe: Path, old: Path, tmp_path: Path
) -> None:
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    target = tmp_path / "stores" / "store"
    before = time.monotonic()
    whole = prepare(recipe, tmp_path / "whole")
    seconds = time.monotonic() - before
    older = verify(old).seal
    found, caught = [], 0
    for number in range(10):
        workers = chance.choice("124")
        target.parent.mkdir(exist_ok=True)
        if chance.random() < 0.3 and not target.exists():
            shutil.copytree(old, target)
        moment = chance.choice(["time", "tokens", "sealing"])
        process = start(recipe, target, "--workers", workers)
        wait_until(moments(moment, target, chance, seconds), process)
        if moment == "sealing":
            time.sleep(chance.uniform(0, 0.2))
        kill = chance.choice([kill_group, kill_parent])
        if process.poll() is None:
            kill(process.pid)
        _, errors = process.communicate()
        where = f"kill {number} of seed {seed}: {moment}, {workers} workers, {kill.__name__}"
        assert process.returncode in (0, -signal.SIGKILL), f"{where}: {errors}"
        wait_for_the_end_of_all(process.pid)
        caught += bool(kept(target))
        if target.exists():
            found.append(verify(target).seal)
            assert found[-1] in (older, whole), where
            if found[-1] == whole:
                shutil.rmtree(target)
    assert caught > 0, "no kill came in the middle of the work"
    assert prepare(recipe, target, "--workers", "2") == whole, f"seed {seed}"
    assert TokenStore.open(target).facts == TokenStore.open(tmp_path / "whole").facts
    assert [path.name for path in target.parent.iterdir()] == ["store"]


@pytest.mark.parametrize("kill", [kill_group, kill_parent])
def test_what_a_killed_writer_finished_is_not_tokenised_again(
    recipe: Path, tmp_path: Path, kill: Kill
) -> None:
    target = tmp_path / "store"
    process = start(recipe, target, "--workers", "2")
    wait_until(lambda: len(kept(target)) >= 5, process)
    kill(process.pid)
    process.communicate()
    wait_for_the_end_of_all(process.pid)
    finished = sum(len(read_shard(file).labels) for file in kept(target))
    assert finished > 0
    process = start(recipe, target, "--json")
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    result = json.loads(output)
    assert (result["reused"], result["tokenised"]) == (finished, COUNT - finished)


STOPS: dict[str, tuple[Kill, int]] = {
    "terminated": (lambda number: os.kill(number, signal.SIGTERM), 143),
    "interrupted": (lambda group: os.killpg(group, signal.SIGINT), 130),  # as a terminal does
}


def stop(process: Preparing, how: str) -> None:
    """Tell a writer to stop, and see that it does so with one line."""
    tell, code = STOPS[how]
    tell(process.pid)
    output, errors = process.communicate()
    assert (process.returncode, output) == (code, ""), errors
    assert errors.splitlines()[-1] == f"{how}: nothing half-written is left"
    assert "Traceback" not in errors
    wait_for_the_end_of_all(process.pid)


@pytest.mark.parametrize("how", STOPS)
@pytest.mark.parametrize("workers", ["1", "4"])
def test_who_is_told_to_stop_says_one_line_and_keeps_what_was_tokenised(
    recipe: Path, tmp_path: Path, workers: str, how: str
) -> None:
    target = tmp_path / "stores" / "store"
    process = start(recipe, target, "--workers", workers)
    wait_until(lambda: len(kept(target)) >= 5, process)
    stop(process, how)
    assert not target.exists()
    finished = sum(len(read_shard(file).labels) for file in kept(target))
    assert finished > 0
    process = start(recipe, target, "--json")
    result = json.loads(process.communicate()[0])
    assert (result["reused"], result["tokenised"]) == (finished, COUNT - finished)
    assert [path.name for path in target.parent.iterdir()] == ["store"]


@pytest.mark.parametrize("how", STOPS)
@pytest.mark.parametrize(("processes", "seconds"), [(2, 0.0), (4, 0.0), (6, 0.5)])
def test_who_is_told_to_stop_while_workers_start_says_one_line_too(
    recipe: Path, tmp_path: Path, processes: int, seconds: float, how: str
) -> None:
    process = start(recipe, tmp_path / "store", "--workers", "4")
    wait_until(lambda: len(living(process.pid)) >= processes, process)
    time.sleep(seconds)
    stop(process, how)
