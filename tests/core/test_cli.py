"""How a command ends: one line and the exit code that says whose mistake it was."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from retort.core.cli import Invocation, seal_line
from retort.core.seal import sealing, verify

PROGRAM = """
import atexit, os, signal, sys, time
from pathlib import Path
from retort.core.cli import run
from retort.core.errors import ConfigError, RetortError
from retort.core.seal import sealing

def main(arguments):
    if arguments[0] == "user":
        raise ConfigError("mine.yaml: unknown key lrr")
    if arguments[0] == "foreseen":
        raise RetortError("accuracy is too low")
    if arguments[0] == "bug":
        raise ZeroDivisionError
    if arguments[0] == "late":
        atexit.register(os.kill, os.getpid(), signal.SIGTERM)
        sys.exit(3)
    if arguments[0] == "much":
        while True:
            print("line " * 100)
    if arguments[0] == "wait":
        with sealing(Path(arguments[1]), kind="thing", inputs={}, config={}) as directory:
            (directory / "half").touch()
            print("waiting", flush=True)
            while True:
                time.sleep(60)
    return int(arguments[0])

if __name__ == "__main__":
    run(main)
"""


def program(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROGRAM, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("argument", "code", "errors"),
    [
        ("0", 0, ""),
        ("3", 3, ""),
        ("user", 2, "error: mine.yaml: unknown key lrr\n"),
        ("foreseen", 1, "error: accuracy is too low\n"),
    ],
)
def test_an_expected_end_is_one_line_and_a_code(argument: str, code: int, errors: str) -> None:
    done = program(argument)
    assert (done.returncode, done.stderr, done.stdout) == (code, errors, "")


def test_a_bug_of_ours_ends_in_a_traceback() -> None:
    done = program("bug")
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
)
def test_a_signal_ends_cleanly_in_the_middle_of_sealing(
    tmp_path: Path, number: signal.Signals, code: int, word: str
) -> None:
    command = [sys.executable, "-c", PROGRAM, "wait", str(tmp_path / "thing")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    assert os.listdir(tmp_path) != []
    process.send_signal(number)
    _, errors = process.communicate()
    assert process.returncode == code
    assert errors == f"{word}: nothing half-written is left\n"
    assert os.listdir(tmp_path) == []


def test_a_signal_after_the_end_is_no_traceback() -> None:
    done = program("late")
    assert (done.returncode, done.stderr) == (-signal.SIGTERM, "")


def test_a_reader_that_goes_away_is_no_traceback() -> None:
    command = [sys.executable, "-c", PROGRAM, "much"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait() == 1
    process.stderr.close()


def test_paths_start_where_the_user_is(tmp_path: Path) -> None:
    invocation = Invocation.from_environment(
        {"BUILD_WORKING_DIRECTORY": "/here/below", "BUILD_WORKSPACE_DIRECTORY": "/here"}
    )
    assert invocation.workspace == Path("/here")
    assert invocation.resolve("runs/a") == Path("/here/below/runs/a")
    assert invocation.resolve("../a") == Path("/here/a")
    assert invocation.resolve("/abs") == Path("/abs")
    plain = Invocation.from_environment({})
    assert plain.resolve("a") == Path.cwd() / "a"
    assert plain.workspace == Path.cwd()


def test_the_seal_line_is_what_scripts_read(tmp_path: Path) -> None:
    with sealing(tmp_path / "thing", kind="thing", inputs={}, config={}):
        pass
    sealed = verify(tmp_path / "thing")
    word, seal, path = seal_line(sealed).split(" ", 2)
    assert (word, seal, path) == ("seal", sealed.seal, str(tmp_path / "thing"))
    assert len(seal) == len("sha256:") + 64
