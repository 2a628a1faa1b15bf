"""How a command ends: one line and the exit code that says whose mistake it was."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from retort.core.cli import Invocation, seal_line
from retort.core.errors import UserError
from retort.core.seal import sealing, verify

PROGRAM = """
from retort.core.signals import starting
if __name__ == "__main__":
    starting()
import atexit, os, signal, sys, time, weakref
from pathlib import Path
from retort.core.cli import Arguments, run
from retort.core.errors import ConfigError, RetortError
from retort.core.seal import sealing

def main(arguments):
    if arguments[0] == "user":
        raise ConfigError("mine.yaml: unknown key lrr")
    if arguments[0] == "foreseen":
        raise RetortError("accuracy is too low")
    if arguments[0] == "lines":
        raise RetortError("a\\nerror: b\\x1b[2J\\udcff")
    if arguments[0] == "flag":
        parser = Arguments(prog="test")
        parser.add_argument("--number", type=int)
        parser.parse_args(arguments[1:])
    if arguments[0] == "lost":
        class Thing: pass
        thing = Thing()
        _gone = weakref.ref(thing, lambda _: os.kill(os.getpid(), int(arguments[1])))
        del thing
        print("lost", flush=True)
        time.sleep(1000)
    if arguments[0] == "twice":
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1000)
        finally:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1000)
    if arguments[0] == "bug":
        raise ZeroDivisionError
    if arguments[0] == "late":
        atexit.register(os.kill, os.getpid(), signal.SIGTERM)
        sys.exit(3)
    if arguments[0] == "ending":
        asked = signal.getsignal
        def at_last(number):
            signal.getsignal = asked
            os.kill(os.getpid(), signal.SIGTERM)
            return asked(number)
        signal.getsignal = at_last
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


COLLECTOR = """
from retort.core.signals import nothing_begun, starting
starting()
import gc
from retort.core.cli import run
print(gc.isenabled(), gc.get_freeze_count() > 1000)
def main(arguments):
    print(gc.isenabled(), gc.get_freeze_count() > 1000)
    with nothing_begun():
        print(gc.isenabled())
    print(gc.isenabled())
    return 0
run(main)
"""


def test_the_garbage_collector_rests_only_while_a_command_imports() -> None:
    done = subprocess.run(
        [sys.executable, "-c", COLLECTOR], capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines() == ["False False", "True True", "False", "True"], done.stderr


@pytest.mark.parametrize(
    ("argument", "code", "errors"),
    [
        ("0", 0, ""),
        ("3", 3, ""),
        ("user", 2, "error: mine.yaml: unknown key lrr\n"),
        ("foreseen", 1, "error: accuracy is too low\n"),
        ("lines", 1, "error: a\\nerror: b\\x1b[2J\\udcff\n"),
        ("twice", 130, "interrupted: nothing half-written is left\n"),
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
    [
        (signal.SIGINT, 130, "interrupted"),
        (signal.SIGTERM, 143, "terminated"),
        (signal.SIGHUP, 129, "hung up"),
    ],
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


def test_a_wrong_flag_is_one_line() -> None:
    done = program("flag", "--number", "five\n")
    assert done.returncode == 2
    assert done.stderr == (
        "error: argument --number: invalid int value: 'five\\n'; --help tells what may be typed\n"
    )


@pytest.mark.parametrize(
    ("number", "word"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated")]
)
def test_a_signal_in_a_callback_whose_exceptions_are_dropped_is_not_lost(
    number: signal.Signals, word: str
) -> None:
    done = program("lost", str(int(number)))
    assert done.returncode == 128 + number
    assert done.stderr == f"{word}: nothing half-written is left\n"


STARTING = """
from retort.core.signals import starting
starting({quietly})
print("starting", flush=True)
import time
while True:
    try:
        time.sleep(60)
    except BaseException:  # as an import may drop it
        pass
"""


@pytest.mark.parametrize(("quietly", "errors"), [("", "interrupted: "), ("quietly=True", "")])
def test_a_signal_while_a_program_is_imported_ends_it_at_once(quietly: str, errors: str) -> None:
    command = [sys.executable, "-c", STARTING.format(quietly=quietly)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "starting\n"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 130
    assert said == (errors and f"{errors}nothing half-written is left\n")


def test_what_is_ignored_stays_ignored() -> None:
    """As of a command that `nohup` starts."""
    lines = "import signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN); import os; "
    lines += "os.execv(sys.executable, [sys.executable, '-c', sys.argv[1], 'hear'])"
    hears = PROGRAM.replace(
        'if arguments[0] == "lines":',
        'if arguments[0] == "hear":\n        os.kill(os.getpid(), signal.SIGHUP)\n        return 7\n'
        '    if arguments[0] == "lines":',
    )
    command = [sys.executable, "-c", lines, hears]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (7, "")


def test_a_directory_that_is_gone_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "here").rmdir()
    with pytest.raises(UserError, match="the directory that you are in is gone"):
        Invocation.from_environment({})


def test_a_signal_after_the_end_is_no_traceback() -> None:
    done = program("late")
    assert (done.returncode, done.stderr) == (-signal.SIGTERM, "")


def test_a_signal_while_handlers_are_put_back_is_no_traceback() -> None:
    done = program("ending")
    assert (done.returncode, done.stderr) == (3, "")


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
