"""The proof of hermeticity itself: it passes where it should, and a planted clock makes it fail."""

import json
import pathlib
import subprocess
import sys

import pytest

from tools.ci import hermetic
from tools.ci.hermetic import Evidence, differences

TARGETS = "//tests/system/hermetic/..."
CHECKOUT = pathlib.Path(__file__).resolve().parents[2]


def _prove(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(CHECKOUT / "tools/ci/hermetic.py"), TARGETS, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_what_actions_see_is_the_same_in_two_different_worlds() -> None:
    done = _prove()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 output files and 1 actions compared" in done.stderr


def test_an_action_that_writes_the_time_makes_the_proof_fail() -> None:
    done = _prove("--plant")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "output k8-fastbuild/bin/tests/system/hermetic/seen_by_an_action.txt" in done.stdout
    assert "NOT hermetic" in done.stderr


@pytest.mark.parametrize(
    "other",
    [
        Evidence({"a": "555 sha256:2"}, ["x"]),
        Evidence({"a": "644 sha256:1"}, ["x"]),
        Evidence({}, ["x"]),
        Evidence({"a": "555 sha256:1", "b": "555 sha256:1"}, ["x"]),
        Evidence({"a": "555 sha256:1"}, ["y"]),
        Evidence({"a": "555 sha256:1"}, ["x", "x"]),
    ],
    ids=["content", "mode", "missing", "more", "action", "count"],
)
def test_every_kind_of_difference_is_found(other: Evidence) -> None:
    one = Evidence({"a": "555 sha256:1"}, ["x"])
    assert differences(one, one) == []
    assert differences(one, other) != []


def test_an_execution_log_is_compared_without_its_times(tmp_path: pathlib.Path) -> None:
    lines: list[list[str]] = []
    for walltime, command in [("1s", "cp a b"), ("2s", "cp a b"), ("1s", "cp a c")]:
        log = tmp_path / f"{len(lines)}.json"
        log.write_text(json.dumps({"commandArgs": [command], "walltime": walltime}, indent=1) * 2)
        lines.append(list(hermetic._actions(log)))
    assert lines[0] == lines[1]
    assert len(lines[0]) == 2
    assert lines[0] != lines[2]
