"""Processes that are forked from one that has imported: what they are, how they end, and who with."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from retort.core.forks import client
from retort.core.forks.client import ADDRESS, Captured, Forked, fork_server, run, start

CHILD = "tests.core.forks.child"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with fork_server("decimal", CHILD):
        yield os.environ[ADDRESS]


@pytest.fixture(params=["forked", "anew"])
def how(request: pytest.FixtureRequest, server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to start a process, which nobody should be able to tell apart."""
    monkeypatch.setenv(ADDRESS, server if request.param == "forked" else "/nowhere")
    kind: str = request.param
    return kind


def wait_for(condition: Callable[[], object]) -> None:
    while not condition():
        time.sleep(0.01)


def runs(number: int) -> bool:
    try:
        state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def begun(directory: Path, *more: str) -> tuple[Captured, int]:
    """A process that waits for ever, and its number, when it hears signals."""
    process = Captured([CHILD, "wait", str(directory / "ready"), *more])
    wait_for((directory / "ready").exists)
    return process, process.process.pid


def test_a_process_is_what_an_interpreter_would_be(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = os.umask(0o027)
    try:
        done = run([CHILD, "facts", "a b", "ü"], {**os.environ, "ONLY": "here"})
    finally:
        os.umask(before)
    assert done.stderr == "on standard error\n"
    facts = json.loads(done.stdout)
    assert facts["arguments"] == ["facts", "a b", "ü"]
    assert facts["name"] == "__main__"
    assert facts["directory"] == str(tmp_path)
    assert facts["umask"] == 0o027
    assert facts["only"] == "here"
    assert facts["leads"]
    assert facts["blocked"] == []
    assert facts["collects"]
    assert facts["descriptors"] == 3
    assert facts["imported"] == (how == "forked"), "the control: what the server has imported"


def test_each_process_has_its_own_random_numbers(how: str) -> None:
    assert run([CHILD, "random"]).stdout != run([CHILD, "random"]).stdout


@pytest.mark.parametrize(
    ("what", "code"),
    [
        ("nothing", 0),
        ("exit", 7),
        ("bug", 1),
        ("kill", -signal.SIGKILL),
        ("abort", -signal.SIGABRT),
    ],
)
def test_it_ends_with_the_exit_code_of_an_interpreter(how: str, what: str, code: int) -> None:
    done = run([CHILD, what])
    assert done.returncode == code
    assert ("ZeroDivisionError: of the test" in done.stderr) == (what == "bug")
    assert done.stdout == ("at the end\n" if code >= 0 else ""), "functions of atexit run"


def test_other_ends_are_those_of_an_interpreter(how: str) -> None:
    done = run([CHILD, "exit_with_words"])
    assert (done.returncode, done.stderr) == (1, "words of the test\n")
    assert run([CHILD, "exit", "300"]).returncode == 300 % 256
    done = run([CHILD, "interrupted"])
    assert done.returncode == -signal.SIGINT
    assert done.stderr.endswith("KeyboardInterrupt\n")
    assert run([CHILD, "thread"]).stdout == "of a thread\nat the end\n", "it is waited for"
    with open("/dev/full", "w", encoding="utf-8") as full:
        assert start([CHILD, "random"], stdout=full, stderr=full).wait() != 0


def test_a_module_that_is_not_there_is_told(how: str) -> None:
    done = run(["tests.core.forks.nobody"])
    assert done.returncode == 1
    assert "No module named" in done.stderr


@pytest.mark.parametrize("quietly", [False, True])
def test_a_signal_ends_it_with_a_line_or_quietly(how: str, quietly: bool, tmp_path: Path) -> None:
    process = Captured([CHILD, "wait", str(tmp_path / "ready")], quietly=quietly)
    wait_for((tmp_path / "ready").exists)
    process.process.terminate()
    done = process.wait()
    assert done.returncode == 128 + signal.SIGTERM
    assert done.stderr == ("" if quietly else "terminated: nothing half-written is left\n")


def test_waiting_with_a_timeout_and_asking(how: str, tmp_path: Path) -> None:
    process, _ = begun(tmp_path)
    assert process.process.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        process.process.wait(0.01)
    process.process.kill()
    assert process.wait().returncode == -signal.SIGKILL
    process.process.terminate()  # is too late, and no error


def test_a_process_and_what_it_has_started_end_with_whoever_asked_for_it(
    server: str, tmp_path: Path
) -> None:
    asks = start([CHILD, "ask", str(tmp_path / "ready")])
    wait_for((tmp_path / "ready").exists)
    family = [int(number) for number in (tmp_path / "ready").read_text().split()]
    assert all(map(runs, family))
    asks.kill()
    asks.wait()
    wait_for(lambda: not any(map(runs, family)))


def test_all_end_with_the_owner_however_it_dies(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != ADDRESS}
    command = [sys.executable, "-m", CHILD, "own", str(tmp_path / "ready")]
    with subprocess.Popen(command, env=environment) as owner:
        wait_for((tmp_path / "ready").exists)
        address, number = (tmp_path / "ready").read_text().split()
        assert runs(int(number))
        owner.kill()
    wait_for(lambda: not runs(int(number)))
    wait_for(lambda: not Path(address).parent.exists())


def test_a_killed_server_takes_its_processes_along_and_new_ones_are_started_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(ADDRESS, raising=False)
    with fork_server():
        process, number = begun(tmp_path)
        assert isinstance(process.process, Forked)
        parent = int(Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[1])
        os.kill(parent, signal.SIGKILL)
        assert process.wait().returncode == -signal.SIGKILL
        wait_for(lambda: not runs(number))
        again = start([CHILD, "nothing"], stdout=subprocess.DEVNULL)
        assert isinstance(again, subprocess.Popen)
        assert again.wait() == 0
    assert ADDRESS not in os.environ


def test_many_processes_at_once_have_their_own_ends(server: str) -> None:
    processes = [Captured([CHILD, "exit", str(number)]) for number in range(20)]
    assert [process.wait().returncode for process in processes] == list(range(20))


def test_where_there_is_an_accelerator_nothing_is_forked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(ADDRESS, raising=False)
    device = tmp_path / "device"
    device.touch()
    monkeypatch.setattr(client, "_ACCELERATORS", (str(device),))
    with fork_server():
        assert ADDRESS not in os.environ
    device.unlink()
    with fork_server():
        assert ADDRESS in os.environ
