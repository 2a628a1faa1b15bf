"""metrics.jsonl: one line a step, equal bytes, and exact after a kill and a resume."""

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retort.core.errors import DataError, StorageError
from retort.train.observe.metrics_file import MetricsFile, read_metrics, with_line
from retort.train.observe.step import Step
from retort.train.observe.step_lines import StepLines

_ENDLESS = """
import sys
from pathlib import Path
from retort.train.observe.metrics_file import MetricsFile
from retort.train.observe.step import Step
file = MetricsFile(Path(sys.argv[1]), 0)
for number in range(1, 1_000_000):
    file.step(Step(number, 1 / number, (1 / number,), 1e-3, 2.0, 8, 80))
    print(number, flush=True)
"""


def step(number: int) -> Step:
    return Step(number, 1 / number, (0.5 / number, 0.5 / number), 1e-3 / 3, 2.0, 8, 80)


def write(path: Path, done: int, until: int) -> None:
    file = MetricsFile(path, done)
    for number in range(done + 1, until + 1):
        file.step(step(number))
    file.sync()
    file.close()


def test_a_line_holds_all_of_a_step(tmp_path: Path) -> None:
    write(tmp_path / "metrics.jsonl", 0, 3)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == 3
    assert json.loads(lines[2]) == {
        "step": 3,
        "loss": 1 / 3,
        "losses": [0.5 / 3, 0.5 / 3],
        "lr": 1e-3 / 3,
        "gradient_norm": 2.0,
        "samples": 8,
        "tokens": 80,
    }


@given(
    done=st.integers(0, 6),
    first=st.integers(6, 9),
    torn=st.binary(max_size=20).filter(lambda rest: b"\n" not in rest),
)
def test_a_resume_gives_the_bytes_of_an_undisturbed_run(
    tmp_path_factory: pytest.TempPathFactory, done: int, first: int, torn: bytes
) -> None:
    root = tmp_path_factory.mktemp("metrics")
    write(root / "undisturbed", 0, 9)
    write(root / "resumed", 0, first)
    with (root / "resumed").open("ab") as file:
        file.write(torn)  # what a kill in the middle of a write leaves
    write(root / "resumed", done, 9)
    assert (root / "resumed").read_bytes() == (root / "undisturbed").read_bytes()


def test_each_line_is_with_the_system_when_the_step_is_told(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    command = [sys.executable, "-c", _ENDLESS, str(path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        told = [int(next(process.stdout)) for _ in range(40)]
        process.send_signal(signal.SIGKILL)
    lines = path.read_bytes().split(b"\n")
    assert len(lines) - 1 >= told[-1] == 40
    resumed = MetricsFile(path, 40)
    resumed.step(step(41))
    resumed.close()
    steps = [json.loads(line)["step"] for line in path.read_text().splitlines()]
    assert steps == list(range(1, 42))


@pytest.mark.parametrize("damage", [b"", b"\0\0\0\n", b"[1]\n"])
def test_a_file_that_lacks_steps_is_refused_and_left_as_it_is(
    tmp_path: Path, damage: bytes
) -> None:
    path = tmp_path / "metrics.jsonl"
    write(path, 0, 3)
    path.write_bytes(path.read_bytes() + damage)
    with pytest.raises(DataError, match=r"metrics\.jsonl: holds 3 of the 5 steps before"):
        MetricsFile(path, 5)
    assert len(path.read_bytes().splitlines()) >= 3


def test_a_full_disk_is_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    lines = StepLines(path, 0)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limit[1]))
    try:
        with pytest.raises(StorageError, match=r"metrics\.jsonl: cannot be written"):
            for number in range(1, 1000):
                lines.write({"step": number})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, ignored)
    lines.close()
    whole = path.read_bytes().count(b"\n")
    resumed = StepLines(path, whole)
    assert resumed.lines == whole > 0
    resumed.close()


def test_lines_that_the_run_did_not_write_are_refused(tmp_path: Path) -> None:
    path, digest = tmp_path / "metrics.jsonl", ""
    write(path, 0, 6)
    for number in range(1, 5):
        digest = with_line(digest, step(number))
    lines = path.read_bytes().splitlines(keepends=True)
    assert read_metrics(path, 4, digest) == lines[:4]
    assert read_metrics(path, 0, "") == []
    others = [
        [lines[0].replace(b"1", b"2", 1), *lines[1:]],
        [*lines[:3], lines[3].rstrip() + b" \n", *lines[4:]],
        [lines[1], lines[0], *lines[2:]],
        lines[1:],
        lines[:3],
        [],
    ]
    for other in others:
        path.write_bytes(b"".join(other))
        with pytest.raises(DataError, match=r"metrics\.jsonl: is altered: its first 4 lines"):
            read_metrics(path, 4, digest)
    path.unlink()
    with pytest.raises(DataError, match=r"metrics\.jsonl: cannot be read"):
        read_metrics(path, 4, digest)
    os.mkfifo(path)
    with pytest.raises(DataError, match=r"metrics\.jsonl: cannot be read: it is not a regular"):
        read_metrics(path, 4, digest)


def test_a_pipe_in_its_place_keeps_nobody_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "metrics.jsonl")
    with pytest.raises(StorageError, match=r"metrics\.jsonl: cannot be written"):
        MetricsFile(tmp_path / "metrics.jsonl", 0)
