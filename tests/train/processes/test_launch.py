import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from retort.core.errors import UserError
from retort.core.forks import client as forks
from retort.core.forks.client import ADDRESS
from retort.train.processes.launch import ELASTIC, Launch, without_launch_arguments
from retort.train.processes.world import PeerLost
from tests.processes.forks import fork_server_for
from tests.processes.train import LIBRARIES, free_port, living_workers

server = fork_server_for(LIBRARIES, ELASTIC)

Run = subprocess.CompletedProcess[str]
Start = Callable[..., "subprocess.Popen[str]"]
OWN = {name: value for name, value in os.environ.items() if name != ADDRESS}
"""Of an agent that has a fork server of its own, as one has it that is typed."""
ANEW = {**OWN, ADDRESS: "/nowhere"}
"""Of an agent that starts interpreters, as where there is a GPU: no server answers it."""
_STEPS = ("--steps", "5", "--at", "3")


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "tests.processes.train", *arguments]


def run(*arguments: str) -> Run:
    return forks.run(["tests.processes.train", *arguments])


def run_anew(environment: Mapping[str, str], *arguments: str) -> Run:
    return subprocess.run(
        _command(*arguments), capture_output=True, text=True, check=False, env=environment
    )


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []

    def begin(
        *arguments: str, log: str = "stderr", environment: Mapping[str, str] = os.environ
    ) -> "subprocess.Popen[str]":
        with (tmp_path / log).open("w", encoding="utf-8") as errors:
            process = subprocess.Popen(
                _command("--traces", str(tmp_path / "traces"), *arguments),
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=environment,
            )
        started.append(process)
        return process

    (tmp_path / "traces").mkdir()
    yield begin
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def traces(tmp_path: Path) -> str:
    return "".join(path.read_text() for path in sorted((tmp_path / "traces").iterdir()))


def wait_for(condition: Callable[[], object], process: "subprocess.Popen[str]") -> None:
    while not condition():
        assert process.poll() is None
        time.sleep(0.02)


def listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("localhost", port)) == 0


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_every_process_joins_and_only_rank_0_speaks(processes: int) -> None:
    done = run("--nproc", str(processes))
    assert done.returncode == 0, done.stderr
    ranks = ", ".join(map(str, range(processes)))
    assert re.fullmatch(rf"ranks \[{ranks}\] {{'named by': 0}} threads \d+\n", done.stdout)
    assert done.stderr == "rank 0 is here\n"


def test_a_bug_in_one_rank_is_told_once_with_rank_step_and_traceback() -> None:
    done = run("--nproc", "2", *_STEPS, "--rank", "1", "--do", "bug")
    assert done.returncode == 1
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert lines[:3] == [
        "rank 0 is here",
        "error: rank 1 of 2 failed in step 3:",
        "Traceback (most recent call last):",
    ]
    assert lines[-1] == "ZeroDivisionError: a bug of the test"
    assert done.stderr.count("Traceback") == 1


@pytest.mark.parametrize("environment", [OWN, ANEW], ids=["forked", "anew"])
def test_a_users_mistake_in_one_rank_is_one_line_and_exit_code_2(
    environment: Mapping[str, str],
) -> None:
    done = run_anew(environment, "--nproc", "2", *_STEPS, "--rank", "1", "--do", "mistake")
    assert done.returncode == 2
    line = "error: rank 1 of 2, in step 3: data.path: there is nothing; give another"
    assert done.stderr.splitlines() == ["rank 0 is here", line]


def test_a_users_mistake_is_not_tried_again() -> None:
    done = run("--nproc", "2", *_STEPS, "--rank", "1", "--do", "mistake", "--max-restarts", "3")
    assert done.returncode == 2
    line = "error: rank 1 of 2, in step 3: data.path: there is nothing; give another"
    assert done.stderr.splitlines() == ["rank 0 is here", line]


@pytest.mark.parametrize("environment", [OWN, ANEW], ids=["forked", "anew"])
def test_a_killed_worker_is_named_and_not_the_ranks_that_lost_it(
    environment: Mapping[str, str],
) -> None:
    done = run_anew(environment, "--nproc", "3", *_STEPS, "--rank", "2", "--do", "kill")
    assert done.returncode == 128 + signal.SIGKILL
    assert "error: rank 2 of 3 was killed by SIGKILL in step 3" in done.stderr
    assert "lost another rank" not in done.stderr
    assert done.stderr.splitlines()[-1].endswith("the kernel does that when memory runs out")


@pytest.mark.parametrize("environment", [OWN, ANEW], ids=["forked", "anew"])
def test_a_worker_that_aborts_leaves_its_last_words(environment: Mapping[str, str]) -> None:
    done = run_anew(environment, "--nproc", "2", *_STEPS, "--rank", "1", "--do", "abort")
    assert done.returncode == 128 + signal.SIGABRT
    assert "error: rank 1 of 2 was killed by SIGABRT in step 3; its last words:" in done.stderr
    assert done.stderr.splitlines()[-1] == "last words"


def test_a_rank_that_hangs_is_noticed_by_the_others_and_named() -> None:
    hang = ("--rank", "1", "--do", "hang", "--collective", "2", "--grace", "1")
    done = run("--nproc", "2", *_STEPS, *hang)
    assert done.returncode == PeerLost.exit_code
    assert "error: rank 0 of 2 lost another rank in step 3; that one ended or hangs" in done.stderr
    assert "rank 1 of 2 hung in step 3: asked to end, it did not" in done.stderr


def test_a_failure_starts_all_ranks_again_as_often_as_allowed() -> None:
    done = run("--nproc", "2", *_STEPS, "--rank", "0", "--do", "bug", "--max-restarts", "1")
    assert done.returncode == 1
    assert done.stderr.count("rank 0 is here") == 2
    assert done.stderr.count("error: rank 0 of 2 failed in step 3:") == 2
    assert "starting again, with 2 processes in all; rank 0 to 1 here" in done.stderr


@pytest.mark.parametrize("environment", [OWN, ANEW], ids=["forked", "anew"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_to_the_launcher_reaches_all_workers_and_waits_for_them(
    start: Start, tmp_path: Path, number: int, code: int, environment: Mapping[str, str]
) -> None:
    endless = ("--steps", "100000", "--pause", "0.05", "--saving", "1")
    process = start("--nproc", "2", *endless, environment=environment)
    wait_for(lambda: traces(tmp_path).count("step 2\n") == 2, process)
    process.send_signal(number)
    process.communicate()
    assert process.returncode == code
    assert traces(tmp_path).count("saved") == 2
    assert "Traceback" not in (tmp_path / "stderr").read_text()


def test_workers_that_do_not_leave_in_their_grace_are_killed(start: Start, tmp_path: Path) -> None:
    process = start("--nproc", "2", "--steps", "9999", "--saving", "10000", "--grace", "1")
    wait_for(lambda: traces(tmp_path).count("step 1\n") == 2, process)
    process.terminate()
    process.communicate()
    assert process.returncode == 143
    assert not living_workers(tmp_path / "traces")


@pytest.mark.parametrize("environment", [OWN, ANEW], ids=["forked", "anew"])
def test_a_killed_launcher_leaves_no_worker(
    start: Start, tmp_path: Path, environment: Mapping[str, str]
) -> None:
    process = start("--nproc", "2", "--steps", "100000", "--pause", "0.05", environment=environment)
    wait_for(lambda: traces(tmp_path).count("step 1\n") == 2, process)
    assert len(living_workers(tmp_path / "traces")) == 2
    process.kill()
    process.communicate()
    while living_workers(tmp_path / "traces"):
        time.sleep(0.02)


def test_two_machines_meet(start: Start) -> None:
    flags = ("--nnodes", "2", "--rdzv-endpoint", f"localhost:{free_port()}", "--nproc", "1")
    nodes = [start(*flags, log="first"), start(*flags, log="second")]
    outputs = sorted(node.communicate()[0] for node in nodes)
    assert [node.returncode for node in nodes] == [0, 0]
    assert outputs[0] == ""
    assert outputs[1].startswith("ranks [0, 1] {'named by': 0}")


def test_a_machine_that_does_not_come_is_told() -> None:
    place = f"localhost:{free_port()}"
    done = run("--nnodes", "2", "--rdzv-endpoint", place, "--join-timeout", "2")
    assert done.returncode == PeerLost.exit_code, "an operator starts it again: a pod may wait long"
    assert done.stderr.startswith(f"error: fewer than 2 machines came to {place} within 2 s")


def test_a_meeting_that_breaks_off_before_all_are_there_is_a_loss_and_no_mistake(
    start: Start, tmp_path: Path
) -> None:
    port = free_port()
    flags = ("--nnodes", "3", "--rdzv-endpoint", f"localhost:{port}", "--nproc", "1")
    host = start(*flags, log="host")
    wait_for(lambda: listens(port), host)
    other = start(*flags, log="other")
    wait_for(lambda: _connections(port) >= 4, other)  # both ends of the host's own, and of this
    host.kill()
    assert other.wait() == PeerLost.exit_code
    said = (tmp_path / "other").read_text(encoding="utf-8")
    assert (
        said == f"error: lost localhost:{port}, where the machines meet: that machine has ended\n"
    )


def _connections(port: int) -> int:
    """Ends of connections to a port of this machine."""
    found = 0
    for name in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{name}").read_text(encoding="ascii").splitlines()[1:]:
            _, local, remote, state, *_ = line.split()
            ports = {int(one.rpartition(":")[2], 16) for one in (local, remote)}
            found += state == "01" and port in ports
    return found


def test_the_number_of_an_operator_says_who_hosts_the_meeting() -> None:
    place = f"localhost:{free_port()}"
    flags = ("--nnodes", "2", "--rdzv-endpoint", place, "--join-timeout", "2")
    for number, code, told in (
        ("0", PeerLost.exit_code, "fewer than 2 machines came"),
        ("1", PeerLost.exit_code, f"{place}, where the machines meet, cannot be reached"),
        ("first", 2, "environment variable PET_NODE_RANK: 'first' is not a whole number"),
    ):
        environment = {**os.environ, "PET_NODE_RANK": number}
        done = forks.run(["tests.processes.train", *flags], environment)
        assert done.returncode == code
        # What PyTorch's C++ says of it may come before.
        assert f"error: {told}" in done.stderr


def test_the_machines_that_are_left_go_on_when_one_is_killed(start: Start, tmp_path: Path) -> None:
    port = free_port()
    place = ("--nnodes", "1:2", "--rdzv-endpoint", f"localhost:{port}")
    flags = (*place, "--max-restarts", "3", "--until", str(tmp_path / "enough"))
    stays = start(*flags, "--pause", "0.1", log="stays")
    wait_for(lambda: listens(port), stays)
    leaves = start(*flags, "--pause", "0.1", log="leaves")
    wait_for(lambda: traces(tmp_path).count("joined 2\n") == 2, stays)
    leaves.kill()
    # Before that, its worker could come to the end with the other, whose agent would wait for the one that is dead.
    again = "starting again, with 1 processes in all"
    wait_for(lambda: again in (tmp_path / "stays").read_text(), stays)
    (tmp_path / "enough").touch()
    output, _ = stays.communicate()
    assert stays.returncode == 0, (tmp_path / "stays").read_text()
    assert output.startswith("ranks [0] ")


def test_torchrun_typed_by_hand_works_and_shows_the_failure() -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    torchrun += ["-m", "tests.processes.train"]
    done = subprocess.run(torchrun, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "ranks [0, 1]" in done.stdout
    torchrun += [*_STEPS, "--rank", "1", "--do", "mistake"]
    done = subprocess.run(torchrun, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "data.path: there is nothing; give another" in done.stderr


def test_dollars_in_arguments_reach_the_workers(tmp_path: Path) -> None:
    directory = tmp_path / "$$ and ${local_rank}"
    directory.mkdir()
    done = run("--nproc", "2", "--traces", str(directory))
    assert done.returncode == 0, done.stderr
    assert len(os.listdir(directory)) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"nproc": 0}, "--nproc: 0 is less than 1"),
        ({"max_restarts": -1}, "--max-restarts: -1 is less than 0"),
        ({"nnodes": "two"}, "--nnodes: 'two' is neither a number, such as 2, nor 1:4"),
        ({"nnodes": "4:1", "rdzv_endpoint": "a:1"}, "--nnodes: '4:1': give 1 or more"),
        ({"nnodes": "0"}, "--nnodes: '0': give 1 or more"),
        ({"nnodes": "2"}, "--nnodes: several machines meet somewhere; add --rdzv-endpoint"),
        ({"rdzv_endpoint": "node-0"}, "--rdzv-endpoint: 'node-0' is not HOST:PORT"),
        ({"rdzv_endpoint": "no such:29400"}, "--rdzv-endpoint: 'no such:29400' is not HOST:PORT"),
        ({"rdzv_endpoint": "a" * 5000 + ":x"}, "aaa … aaa"),
        ({"rdzv_endpoint": "node-0:99999"}, "--rdzv-endpoint: 'node-0:99999' is not HOST:PORT"),
    ],
)
def test_an_impossible_launch_is_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        Launch(**arguments)  # type: ignore[arg-type]


def test_workers_get_all_arguments_but_the_launchers() -> None:
    typed = ["--config", "x", "--nproc", "2", "--set", "a=b", "--nnodes=1:4", "--out", "d"]
    assert without_launch_arguments(typed) == ["--config", "x", "--set", "a=b", "--out", "d"]
