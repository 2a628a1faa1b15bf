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


def test_what_actions_see_is_the_same_in_two_worlds_until_one_writes_the_time() -> None:
    time, nothing = (f"--//tests/system/hermetic:planted={what}" for what in ("time", "nothing"))
    command = [sys.executable, str(CHECKOUT / "tools/ci/hermetic.py"), TARGETS]
    command += [f"--control={time}", f"--control={nothing}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "1 output files and 1 actions compared" in done.stderr, done.stdout + done.stderr
    # That nothing was planted is found out, and is all that is found.
    assert done.stdout == f"the control failed: the builds agree with {nothing}\n"
    assert done.returncode == 1


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
