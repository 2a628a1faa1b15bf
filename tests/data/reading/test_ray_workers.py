"""Stores made on a real Ray cluster are those made here, whatever is killed meanwhile."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest
import yaml

from tests.tiny.cluster import Done, Driver, TinyCluster
from tests.tiny.store import WORDS, bert_tokenizer

RECIPE = "recipe.yaml"
ATTEMPTS = 10
FILES = 6
CHARACTERS = 9_000_000
"""Of a file: a piece of several chunks."""
IMPATIENT = """
import math
import signal
import sys
from pathlib import Path
from retort.core.cli import run
from retort.core.config import find_recipe, load_recipe
from retort.data.reading import ray_workers
from retort.data.preparation.recipe import PreparationRecipe, read_tokenizer, recipes
from retort.data.preparation.run import prepare_store
from retort.data.reading.ray_cluster import connected

class UntilTold:
    def __init__(self, address):
        self.address = address

    def run(self, job, pieces):
        with connected(self.address, None, math.inf) as cluster:
            signal.signal(signal.SIGUSR1, lambda *_: setattr(cluster, "patience", 3.0))
            yield from ray_workers._gather(cluster, None, job, pieces)

def main(arguments):
    file, out, address = arguments
    source = find_recipe(recipes(), file, Path.cwd())
    config = load_recipe(PreparationRecipe, source, [], Path.cwd()).config
    workers = UntilTold(address)
    prepare_store(Path(out), config.data, read_tokenizer(config.tokenizer), workers=workers)
    return 0

if __name__ == "__main__":
    run(main)
"""
"""Waits for its cluster as long as it takes, and from SIGUSR1 on for a moment alone: however busy
this machine is, nothing is given up that was not killed."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[TinyCluster]:
    """A cluster with one node that lives as long as the tests."""
    with TinyCluster() as started:
        started.add_node()
        yield started


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe, large enough for a node to be killed in the middle, and a tokenizer."""
    directory = tmp_path_factory.mktemp("corpus")
    chance = random.Random(1)
    paragraphs = [" ".join(chance.choices(WORDS, k=2000)) for _ in range(100)]
    for number in range(FILES):
        rows = ["label,body"]
        characters = 0
        while characters < CHARACTERS:
            text = " ".join([*chance.choices(paragraphs, k=2), str(len(rows)), str(number)])
            rows.append(f"{chance.choice(['sport', 'tech'])},{text}")
            characters += len(text)
        (directory / f"{number}.csv").write_text("\n".join(rows))
    (directory / "tokenizer.json").write_bytes(bert_tokenizer())
    return directory


def write_recipe(directory: Path, *paths: str) -> None:
    """Write a recipe of some of the files."""
    values = {
        "data": {
            "source": "csv",
            "files": {
                "paths": [str(directory / path) for path in paths],
                "text": "body",
                "label": "label",
            },
        },
        "tokenizer": {"file": str(directory / "tokenizer.json")},
    }
    (directory / RECIPE).write_text(yaml.safe_dump(values))


def program(directory: Path, out: Path, *options: str) -> list[str]:
    """//data:prepare with the recipe."""
    command = [sys.executable, "-m", "retort.data.prepare", "--config", str(directory / RECIPE)]
    return [*command, "--out", str(out), *options]


def prepare(
    directory: Path, out: Path, *options: str, environment: dict[str, str] | None = None
) -> Done:
    """Run it to its end."""
    return subprocess.run(
        program(directory, out, *options),
        env=environment or {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )


def on(cluster: TinyCluster) -> tuple[str, ...]:
    """The options to make a store on a cluster."""
    return ("--engine", "ray", "--address", cluster.address)


def seal_of(done: Done, out: Path) -> str:
    """The seal from standard output, on which there is nothing else."""
    assert done.returncode == 0, done.stderr
    word, seal, path = done.stdout.rstrip("\n").split(" ", 2)
    assert (word, path) == ("seal", str(out))
    return seal


def test_a_node_killed_in_the_middle_costs_only_its_pieces(
    cluster: TinyCluster, directory: Path, tmp_path: Path
) -> None:
    write_recipe(directory, "*.csv")
    here = seal_of(prepare(directory, tmp_path / "here", "--workers", "1"), tmp_path / "here")
    node = cluster.add_node()
    out = tmp_path / "there"
    for _ in range(ATTEMPTS):
        driver = Driver(program(directory, out, *on(cluster)), out, cluster)
        if driver.reaches(node.is_reading):
            break
        # The node had not begun when all was read; its processes are warm now.
        assert seal_of(driver.end(), out) == here
        shutil.rmtree(out)
    node.kill_while_reading()
    done = driver.end()
    assert seal_of(done, out) == here
    assert "will be retried" in done.stderr


def test_a_cluster_for_one_command_gives_the_same(
    cluster: TinyCluster, directory: Path, tmp_path: Path
) -> None:
    write_recipe(directory, "0.csv")
    here = seal_of(prepare(directory, tmp_path / "here"), tmp_path / "here")
    there = prepare(
        directory,
        tmp_path / "there",
        *("--engine", "ray", "--address", "local", "--workers", "2"),
        environment=cluster.environment,
    )
    assert seal_of(there, tmp_path / "there") == here


def test_a_mistake_in_the_documents_is_told_as_it_is_here(
    cluster: TinyCluster, directory: Path, tmp_path: Path
) -> None:
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("label,body\nsport,a match\ntech,a chip,and more\n")
    write_recipe(directory, "0.csv", str(wrong))
    here = prepare(directory, tmp_path / "here")
    there = prepare(
        directory,
        tmp_path / "there",
        *on(cluster),
        environment=cluster.environment,
    )
    assert (there.returncode, there.stdout) == (2, "")
    assert f"{wrong}: row 2" in there.stderr.splitlines()[-1]
    assert there.stderr.splitlines()[-1] == here.stderr.splitlines()[-1]
    assert not (tmp_path / "there").exists()


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("127.0.0.1:1", "the Ray cluster at 127.0.0.1:1 cannot be reached: Connection refused"),
        ("ray://127.0.0.1:1", "--address ray://127.0.0.1:1: give HOST:PORT"),
        ("head", "--address head: give HOST:PORT"),
    ],
)
def test_where_no_cluster_is_the_address_is_named(
    directory: Path, tmp_path: Path, address: str, message: str
) -> None:
    write_recipe(directory, "0.csv")
    done = prepare(directory, tmp_path / "out", "--engine", "ray", "--address", address)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1].startswith(f"error: {message}")
    assert not (tmp_path / "out").exists()


def test_an_address_without_the_engine_is_a_mistake(directory: Path, tmp_path: Path) -> None:
    write_recipe(directory, "0.csv")
    done = prepare(directory, tmp_path / "out", "--address", "127.0.0.1:1")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith("give --engine ray with it")


def test_a_cluster_with_another_token_is_refused(
    cluster: TinyCluster, directory: Path, tmp_path: Path
) -> None:
    write_recipe(directory, "0.csv")
    done = prepare(
        directory,
        tmp_path / "out",
        *on(cluster),
        environment={**cluster.environment, "RAY_AUTH_TOKEN": "0" * 32},
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "asks for another token than this machine has" in done.stderr.splitlines()[-1]


def test_sigterm_ends_it_and_what_it_did_is_kept(
    cluster: TinyCluster, directory: Path, tmp_path: Path
) -> None:
    write_recipe(directory, "[0-2].csv")
    out = tmp_path / "out"
    driver = Driver(program(directory, out, *on(cluster)), out, cluster)
    driver.wait_until()
    driver.process.terminate()
    done = driver.end()
    assert (done.returncode, done.stdout) == (143, "")
    assert done.stderr.splitlines()[-1] == "terminated: nothing half-written is left"
    assert driver.chunks() >= 2
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ("changed", "retort.data/tokenizers/choose.py is another; start Ray on it"),
        ("missing", "(ModuleNotFoundError: No module named 'retort.data'); start Ray on it"),
    ],
)
def test_a_node_with_other_code_is_refused(
    directory: Path, tmp_path: Path, other: str, message: str
) -> None:
    package = tmp_path / "other" / "retort"
    if other == "changed":
        shutil.copytree(Path(str(files("retort.core"))).parent, package)
        changed = package / "data" / "tokenizers" / "choose.py"
        changed.chmod(0o644)
        changed.write_text(changed.read_text() + "# Changed.\n")
    else:
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
    write_recipe(directory, "0.csv")
    with TinyCluster() as started:
        started.add_node(first_on_path=tmp_path / "other")
        done = prepare(
            directory,
            tmp_path / "out",
            *on(started),
            environment=started.environment,
        )
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert message in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("nodes", "no node with a core is left"),
        ("head", "its node on this machine has gone"),
        ("control", "cannot be reached (Connection refused)"),
    ],
)
def test_a_cluster_that_is_lost_is_given_up_and_what_it_did_is_kept(
    directory: Path, tmp_path: Path, what: str, told: str
) -> None:
    write_recipe(directory, "[0-2].csv")
    out = tmp_path / "out"
    with TinyCluster() as started:
        node = started.add_node()
        command = [sys.executable, "-c", IMPATIENT, str(directory / RECIPE), str(out)]
        driver = Driver([*command, started.address], out, started)
        driver.wait_until()
        if what == "control":
            started.head.kill_control()
        (started.head if what == "head" else node).kill()
        driver.process.send_signal(signal.SIGUSR1)
        done = driver.end()
    assert done.returncode == 1, done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"error: the Ray cluster at {started.address}: "), done.stderr
    assert told in last
    assert driver.chunks() >= 2
    again = prepare(directory, out, "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["reused"] > 0
