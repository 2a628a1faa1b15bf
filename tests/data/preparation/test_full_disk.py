"""A disk that is full: one clear line, the store that was there is whole, and nothing is lost."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes.prepare import write_recipe
from tests.tiny.small_disk import IN_A_NAMESPACE, may_mount
from tests.tiny.store import bert_tokenizer, documents, write_corpus

FEW, COUNT = 100, 6000
PREPARE = """
prepare() { "$1" -m retort.data.prepare --config "$3/recipe.yaml" --out "$2/store" $4; echo "code $?"; }
first() { prepare "$1" "$2" "$3"; }
full() { prepare "$1" "$2" "$4" "--workers 2"; "$1" -m retort.data.inspection.verify_store "$2/store"; ls -A "$2"; }
later() { prepare "$1" "$2" "$4" --json; }
"""
DISK = """
mount -t tmpfs -o size=$5 none "$2"
first "$@"; full "$@"
mount -o remount,size=64m "$2"
later "$@"
"""
LIMIT = """
first "$@"; (ulimit -f $5; full "$@"); later "$@"
"""


@pytest.mark.parametrize(
    ("limited", "size", "reason", "kept"),
    [
        (DISK, "1m", "No space left on device", "some"),
        (DISK, "4m", "No space left on device", "all"),
        (LIMIT, "40", "File too large", "none"),
        (LIMIT, "600", "File too large", "all"),
    ],
    ids=["disk, tokens", "disk, shards", "limit, tokens", "limit, shards"],
)
def test_a_full_disk_is_one_clear_line_and_loses_nothing(
    tmp_path: Path, limited: str, size: str, reason: str, kept: str
) -> None:
    recipes = [
        write_recipe(
            tmp_path / str(count),
            write_corpus(tmp_path / str(count) / "documents", documents(count, words=400), 20),
            bert_tokenizer(),
        ).parent
        for count in (FEW, COUNT)
    ]
    place = tmp_path / "place"
    place.mkdir()
    if limited == DISK and not may_mount(place):
        pytest.skip("no disk can be mounted here; a limit on files stands for it")
    places = map(str, (sys.executable, place, *recipes))
    command = ["sh", "-c", PREPARE + limited, "sh", *places, size]
    if limited == DISK:
        command = [*IN_A_NAMESPACE, *command]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    sealed = lines[0]
    assert sealed.startswith("seal sha256:"), done.stderr
    assert lines[1:4] == ["code 0", "code 2", sealed], "what was sealed is what it was"
    assert lines[4:-2] == (["store"] if kept == "none" else [".store.work", "store"])
    assert "Traceback" not in done.stderr
    expected = f"error: {place}/store: cannot be written: {reason}; make room or choose another"
    assert sum(line.startswith(expected) for line in done.stderr.splitlines()) == 1
    result = json.loads(lines[-2])
    assert lines[-1] == "code 0"
    assert result["documents"] == COUNT
    least, most = {"none": (FEW, FEW), "some": (FEW + 1, COUNT - 1), "all": (COUNT, COUNT)}[kept]
    assert least <= result["reused"] <= most
