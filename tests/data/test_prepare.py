"""//data:prepare, :inspect, :verify and :diff as a user runs them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from retort.core.errors import DataError
from retort.core.forks.client import run
from retort.core.seal import verify
from retort.data.preparation.recipe import TokenizerConfig, read_tokenizer
from retort.data.store.store import KIND, TokenStore
from tests.processes.forks import PREPARATION, fork_server_for
from tests.tiny.inputs import write_documents, write_weights

server = fork_server_for(*PREPARATION)


def _run(module: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return run([f"retort.data.{module}", *map(str, arguments)])


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_weights(tmp_path_factory.mktemp("weights") / "tiny") / "tokenizer.json"


@pytest.fixture
def recipe(tmp_path: Path, tokenizer: Path) -> Path:
    """A recipe of documents that the test may add to."""
    documents = write_documents(tmp_path / "documents", count=60)
    file = tmp_path / "tiny.yaml"
    values = {
        "data": {"source": "directory", "directory": str(documents), "held_out": 0.2},
        "tokenizer": {"file": str(tokenizer)},
    }
    file.write_text(yaml.safe_dump(values))
    return file


def _prepare(recipe: Path, out: Path, *arguments: str) -> str:
    """The seal, from the last line on standard output."""
    done = _run("prepare", "--config", recipe, "--out", out, *arguments)
    assert done.returncode == 0, done.stderr
    word, seal, path = done.stdout.splitlines()[-1].split(" ", 2)
    assert (word, path) == ("seal", str(out))
    return seal


def test_a_store_is_sealed_with_its_report(recipe: Path, tmp_path: Path) -> None:
    seal = _prepare(recipe, tmp_path / "store")
    sealed = verify(tmp_path / "store", kind=KIND)
    assert sealed.seal == seal
    store = TokenStore.open(tmp_path / "store")
    validation = json.loads(sealed.read("validation.json"))
    assert {name: len(part) for name, part in store.parts.items()} == {
        "train": validation["train"],
        "held_out": validation["held_out"],
    }
    assert validation["documents"] == 120
    assert sealed.read("report.html").startswith(b"<!DOCTYPE html>")


def test_neither_workers_nor_place_change_the_seal(
    recipe: Path, tmp_path: Path, tokenizer: Path
) -> None:
    seals = {_prepare(recipe, tmp_path / "one" / "store", "--workers", "1")}
    seals.add(_prepare(recipe, tmp_path / "store", "--workers", "2"))
    (tmp_path / "moved").mkdir()
    moved = tmp_path / "moved" / recipe.name
    (tmp_path / "documents").rename(tmp_path / "moved" / "texts")
    values = {
        "data": {"source": "directory", "directory": "texts", "held_out": 0.2},
        "tokenizer": {"file": str(tokenizer)},
    }
    moved.write_text(yaml.safe_dump(values))
    command = [sys.executable, "-m", "retort.data.prepare", "--config", f"./{moved.name}"]
    done = subprocess.run(
        [*command, "--out", "store"],
        cwd=tmp_path / "moved",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seals.add(done.stdout.split()[1])
    assert len(seals) == 1


def test_another_share_held_out_changes_it(recipe: Path, tmp_path: Path) -> None:
    one = _prepare(recipe, tmp_path / "one")
    assert one != _prepare(recipe, tmp_path / "two", "--set", "data.held_out=0.4")


def test_the_same_again_tokenises_nothing(recipe: Path, tmp_path: Path) -> None:
    seal = _prepare(recipe, tmp_path / "store")
    done = _run("prepare", "--config", recipe, "--out", tmp_path / "store", "--json")
    result = json.loads(done.stdout)
    assert (result["seal"], result["tokenised"]) == (seal, 0)
    assert result["reused"] == result["documents"]


def test_inspect_prints_the_store_and_its_seal(recipe: Path, tmp_path: Path) -> None:
    seal = _prepare(recipe, tmp_path / "store")
    done = _run("inspection.inspect_store", tmp_path / "store")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"seal {seal} {tmp_path / 'store'}"
    assert "train: " in done.stdout
    assert "█" in done.stdout
    assert "[sport]" in done.stdout or "[tech]" in done.stdout
    all_of_them = _run("inspection.inspect_store", tmp_path / "store", "--samples", str(10**15))
    assert all_of_them.returncode == 0, all_of_them.stderr
    described = json.loads(_run("inspection.inspect_store", tmp_path / "store", "--json").stdout)
    assert sum(described["parts"]["train"]["labels"].values()) == (
        described["parts"]["train"]["documents"]
    )


def test_diff_says_what_changed(recipe: Path, tmp_path: Path) -> None:
    _prepare(recipe, tmp_path / "one")
    write_documents(tmp_path / "documents", count=3, first=60)
    _prepare(recipe, tmp_path / "two")
    done = _run("inspection.diff_stores", tmp_path / "one", tmp_path / "two")
    assert done.returncode == 1
    assert "6 in B alone" in done.stdout or "in B alone" in done.stdout
    added = [
        int(line.split(" in B alone")[0].split()[-1])
        for line in done.stdout.splitlines()
        if "alone" in line
    ]
    assert sum(added) == 6
    same = _run("inspection.diff_stores", tmp_path / "one", tmp_path / "one")
    assert (same.returncode, same.stdout[:6]) == (0, "equal:")


def test_an_altered_shard_is_refused_by_name(recipe: Path, tmp_path: Path) -> None:
    _prepare(recipe, tmp_path / "store")
    shard = next((tmp_path / "store" / "shards").iterdir())
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.chmod(0o644)
    shard.write_bytes(content)
    for module in ("inspection.verify_store", "inspection.inspect_store"):
        done = _run(module, tmp_path / "store")
        assert done.returncode == 2
        assert f"{shard}: is altered" in done.stderr


def test_a_store_with_another_seal_than_the_one_named_is_refused(
    recipe: Path, tmp_path: Path
) -> None:
    seal = _prepare(recipe, tmp_path / "store")
    assert seal in _run("inspection.verify_store", tmp_path / "store", "--seal", seal).stdout
    manifest = tmp_path / "store" / "manifest.json"
    manifest.write_bytes(manifest.read_bytes().replace(b'"held_out":0.2', b'"held_out":0.3'))
    assert _run("inspection.verify_store", tmp_path / "store").returncode == 0
    for wanted, message in ((seal, f"and {seal} is wanted"), ("latest", "is not a seal")):
        done = _run("inspection.verify_store", tmp_path / "store", "--seal", wanted)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert done.stderr.startswith("error: ") and message in done.stderr


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("data.sauce=bbc_news", "unknown key data.sauce"),
        ("tokenizer.package=nothing", "give one of tokenizer.file"),
        ("tokenizer.file=/nowhere/tokenizer.json", "/nowhere/tokenizer.json: cannot be read"),
        (
            "tokenizer.file=/dev/zero",
            "/dev/zero: cannot be read as a tokenizer: it is not a regular",
        ),
        ("data.directory=/nowhere", "/nowhere"),
    ],
)
def test_a_mistake_is_named_and_nothing_is_sealed(
    recipe: Path, tmp_path: Path, setting: str, message: str
) -> None:
    done = _run("prepare", "--config", recipe, "--out", tmp_path / "store", "--set", setting)
    assert done.returncode == 2
    assert done.stdout == ""
    assert message in done.stderr.splitlines()[-1]
    assert not (tmp_path / "store").exists()


def test_a_pipe_is_no_tokenizer_and_nobody_waits_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="pipe: cannot be read as a tokenizer: it is not a regular"):
        read_tokenizer(TokenizerConfig(file=tmp_path / "pipe"))


def test_the_recipe_of_bbc_news_reads_the_wheels(tmp_path: Path) -> None:
    done = _run("prepare", "--config", "bbc", "--out", tmp_path / "bbc", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["documents"] == 2126
    assert result["removed"]["same_tokens"] == 1, "a copy of one held out, but for its case"
    assert 900_000 < result["tokens"] < 1_100_000
