"""Preparing what cannot be prepared: one line that says where, and all that was sealed is left."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow  # type: ignore[import-untyped]
import pytest
from pyarrow import parquet

from retort.core.seal import verify
from retort.data.config import CorpusConfig
from tests.processes.forks import PREPARATION, fork_server_for
from tests.processes.prepare import (
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

ROWS = [(f"text {number} of all", "ab"[number % 2]) for number in range(1, 301)]
CSV = "".join(f"{text},{label}\n" for text, label in ROWS)


def write_half_parquet(file: Path) -> None:
    table = pyarrow.table({"text": [text for text, _ in ROWS], "label": ["a", "b"] * 150})
    parquet.write_table(table, file, row_group_size=50)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def content(data: str | bytes) -> Callable[[Path], object]:
    return lambda file: file.write_bytes(data if isinstance(data, bytes) else data.encode())


BAD: dict[str, tuple[str, Callable[[Path], object], dict[str, Any], str]] = {
    "binary": (
        "csv",
        content(f"text,label\n{CSV}".encode() + b"\x7fELF\2\1\1\0\0\0,a\n"),
        {},
        f": is binary: it has a NUL byte at offset {len(CSV) + 18}; give text in UTF-8",
    ),
    "half a Parquet file": ("parquet", write_half_parquet, {}, ": is not a whole Parquet file: "),
    "missing column": (
        "csv",
        content(f"body,label\n{CSV}"),
        {},
        ": has no column 'text'; allowed: body, label",
    ),
    "missing field": (
        "csv",
        content(f"text,label\n{CSV}alone\n"),
        {},
        f": row 301, at offset {len(CSV) + 11}, has 1 field; the header has 2",
    ),
    "label not in the list": (
        "csv",
        content(f"text,label\n{CSV}more,c\n"),
        {"labels": ["a", "b"]},
        ": row 301: has the label 'c'; allowed: a, b",
    ),
    "not JSON": ("jsonl", content('{"text": "x", "label": "a"}\n{"text"\n'), {}, ": row 2 is not"),
    "not UTF-8": (
        "csv",
        content(f"text,label\n{CSV}".encode() + b"caf\xe9,a\n"),
        {"not_utf8": "refuse"},
        f": row 301: is not UTF-8 at offset {len(CSV) + 14}: byte 0xe9",
    ),
    "no documents": ("csv", content("text,label\n"), {}, ": holds no documents"),
    "missing file": ("csv", lambda _: None, {}, ": does not exist"),
}


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that was sealed before."""
    root = tmp_path_factory.mktemp("sealed")
    config = write_corpus(root / "documents", documents(100))
    prepare(write_recipe(root, config, bert_tokenizer()), root / "store")
    return root / "store"


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_what_was_sealed_is_left(
    sealed: Path, tmp_path: Path, case: str
) -> None:
    source, write, keys, message = BAD[case]
    file = tmp_path / "bad.input"
    write(file)
    config = CorpusConfig.model_validate(
        {"source": source, "files": {"paths": [str(file)], "label": "label"}, **keys}
    )
    recipe = write_recipe(tmp_path / "recipe", config, bert_tokenizer())
    target = tmp_path / "stores" / "store"
    shutil.copytree(sealed, target)
    manifest = (target / "manifest.json").stat()
    for out in (target, tmp_path / "stores" / "new"):
        process = start(recipe, out)
        output, errors = process.communicate()
        assert (process.returncode, output) == (2, ""), errors
        last = errors.splitlines()[-1]
        assert last.startswith(f"error: {file}{message}"), last
        assert "Traceback" not in errors
    assert verify(target).seal == verify(sealed).seal
    assert (target / "manifest.json").stat().st_ino == manifest.st_ino
    assert [path.name for path in target.parent.iterdir()] == ["store"]


@pytest.mark.parametrize("workers", ["2", "4"])
def test_bad_input_found_by_a_worker_is_the_same_line(tmp_path: Path, workers: str) -> None:
    config = write_corpus(tmp_path / "documents", documents(600), files=6)
    file = tmp_path / "documents" / "train-003.jsonl"
    rows = file.read_text().count("\n")
    with file.open("a") as stream:
        stream.write("[]\n")
    recipe = write_recipe(tmp_path, config, bert_tokenizer())
    process = start(recipe, tmp_path / "store", "--workers", workers)
    output, errors = process.communicate()
    assert (process.returncode, output) == (2, "")
    assert errors.splitlines()[-1] == f"error: {file}: row {rows + 1} is not a JSON object"
    assert "Traceback" not in errors
    assert not (tmp_path / "store").exists()
    wait_for_the_end_of_all(process.pid)


def test_of_two_processes_that_write_one_store_the_second_is_told_to_wait(tmp_path: Path) -> None:
    config = write_corpus(tmp_path / "documents", documents(6000, words=400), files=20)
    recipe = write_recipe(tmp_path, config, bert_tokenizer())
    target = tmp_path / "stores" / "store"
    first = start(recipe, target)
    wait_until(lambda: kept(target), first)
    os.kill(first.pid, signal.SIGSTOP)  # it is in the middle of its work, for as long as we like
    second = start(recipe, target)
    output, errors = second.communicate()
    os.kill(first.pid, signal.SIGCONT)
    assert (second.returncode, output) == (2, "")
    assert errors.splitlines()[-1] == (
        f"error: {target}: is being written by another process; wait for it to end"
    )
    output, errors = first.communicate()
    assert first.returncode == 0, errors
    assert verify(target).seal == output.split()[1]
    assert [path.name for path in target.parent.iterdir()] == ["store"]


def test_a_worker_that_is_killed_ends_the_command_which_can_be_resumed(tmp_path: Path) -> None:
    config = write_corpus(tmp_path / "documents", documents(6000, words=400), files=20)
    recipe = write_recipe(tmp_path, config, bert_tokenizer())
    target = tmp_path / "store"
    process = start(recipe, target, "--workers", "2")
    wait_until(lambda: len(kept(target)) >= 3, process)
    for number in living(process.pid):
        if number != process.pid and b"spawn_main" in command_line(number):
            os.kill(number, signal.SIGKILL)
    output, errors = process.communicate()
    assert (process.returncode, output) == (1, "")
    assert errors.splitlines()[-1] == (
        "error: a worker process was killed, perhaps for want of memory; "
        "run the command again: what was tokenised is kept"
    )
    assert not target.exists()
    assert len(kept(target)) >= 3
    assert prepare(recipe, target) == prepare(recipe, tmp_path / "fresh")


def command_line(number: int) -> bytes:
    return Path(f"/proc/{number}/cmdline").read_bytes()


@pytest.mark.parametrize(("keep", "message"), [(0.5, "is truncated"), (1.0, "is altered")])
def test_a_damaged_shard_is_named_by_whoever_opens_the_store(
    sealed: Path, tmp_path: Path, keep: float, message: str
) -> None:
    store = tmp_path / "store"
    shutil.copytree(sealed, store)
    shard = max((store / "shards").iterdir())
    data = shard.read_bytes()
    shard.write_bytes(data[: int(len(data) * keep) - 1] + (b"\xff" if keep == 1 else b""))
    for module, stores in (("verify", [store]), ("inspect", [store]), ("diff", [sealed, store])):
        name = "diff_stores" if module == "diff" else f"{module}_store"
        command = [sys.executable, "-m", f"retort.data.inspection.{name}", *map(str, stores)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (2, ""), done.stderr
        assert done.stderr.startswith(f"error: {shard}: {message}"), done.stderr
        assert done.stderr.count("\n") == 1
