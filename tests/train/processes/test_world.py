import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from retort.core.errors import UserError
from retort.core.forks.client import Captured
from retort.train.processes.environment import is_worker
from retort.train.processes.launch import Launch
from retort.train.processes.world import PeerLost, World, joined
from tests.processes.forks import fork_server_for
from tests.processes.train import LIBRARIES, free_port

server = fork_server_for(LIBRARIES)

_PLACE = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29400"}


def start(rank: int, size: int, port: int, *arguments: str) -> Captured:
    """One process as a PyTorchJob starts it: with variables, and no agent."""
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    variables = {**os.environ, **place, "RANK": str(rank), "WORLD_SIZE": str(size)}
    return Captured(["tests.processes.train", *arguments], variables)


@contextmanager
def listening() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_without_variables_a_process_is_alone_and_collectives_return_its_own() -> None:
    with joined({}, 1.0) as world:
        assert (world.rank, world.size, world.local_rank, world.is_main) == (0, 1, 0, True)
        assert not torch.distributed.is_initialized()
        assert world.gather(torch.tensor([1.0, 2.0])).tolist() == [[1.0, 2.0]]
        assert world.broadcast_object("same") == "same"
        assert world.any(True)
        assert not world.any(False)
        world.barrier("end")


def test_one_process_of_one_needs_no_group() -> None:
    with joined({**_PLACE, "RANK": "0", "WORLD_SIZE": "1"}, 1.0) as world:
        assert world.size == 1
        assert not torch.distributed.is_initialized()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"RANK": ""}, "environment variable RANK is not set, though WORLD_SIZE and"),
        ({"MASTER_PORT": ""}, "environment variable MASTER_PORT is not set"),
        (
            {"RANK": "", "WORLD_SIZE": ""},
            "environment variables RANK and WORLD_SIZE are not set, though MASTER_ADDR",
        ),
        ({"RANK": "first"}, "environment variable RANK: 'first' is not a whole number from 0 on"),
        ({"RANK": "2"}, "environment variable RANK: 2 is not below WORLD_SIZE, 2"),
        ({"WORLD_SIZE": "0"}, "environment variable WORLD_SIZE: '0' is not a whole number from 1"),
        ({"MASTER_PORT": "99999"}, "environment variable MASTER_PORT: 99999 is not a port"),
        ({"RANK": "9" * 5000}, "is not a whole number from 0 on, of nine digits at most"),
        ({"WORLD_SIZE": "9" * 5000}, "is not a whole number from 1 on, of nine digits at most"),
        ({"MASTER_PORT": "9" * 5000}, "is not a whole number from 1 on, of nine digits at most"),
        ({"LOCAL_RANK": "9" * 5000}, "is not a whole number from 0 on, of nine digits at most"),
        ({"LOCAL_RANK": "-1"}, "environment variable LOCAL_RANK: '-1' is not a whole number"),
    ],
)
def test_variables_that_are_incomplete_or_malformed_are_named(
    changes: dict[str, str], message: str
) -> None:
    environment = {**_PLACE, "RANK": "0", "WORLD_SIZE": "2", **changes}
    with pytest.raises(UserError, match=re.escape(message)), joined(environment, 1.0):
        pass


def test_an_unknown_host_is_named() -> None:
    environment = {**_PLACE, "RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "nowhere.invalid"}
    with (
        pytest.raises(UserError, match=r"MASTER_ADDR: host 'nowhere\.invalid' is unknown"),
        joined(environment, 0.1),
    ):
        pass


def test_a_port_in_use_is_named() -> None:
    with listening() as port:
        environment = {**_PLACE, "MASTER_PORT": str(port), "RANK": "0", "WORLD_SIZE": "2"}
        with (
            pytest.raises(UserError, match=f"MASTER_PORT: port {port} is in use on 127.0.0.1"),
            joined(environment, 1.0),
        ):
            pass


def test_something_else_that_answers_at_the_port_is_told() -> None:
    with listening() as port:
        other = start(1, 2, port, "--rendezvous", "1")
        done = other.wait()
    assert done.returncode == 2
    assert "answers, but not as the meeting place of a run" in done.stderr


def test_nobody_at_the_meeting_place_is_told() -> None:
    port = free_port()
    environment = {**_PLACE, "MASTER_PORT": str(port), "RANK": "1", "WORLD_SIZE": "2"}
    with (
        pytest.raises(UserError, match=f"rank 0 did not arrive at 127.0.0.1:{port} within 0.1 s"),
        joined(environment, 0.1),
    ):
        pass


def test_ranks_that_do_not_arrive_are_named_by_all_who_did() -> None:
    port = free_port()
    processes = [start(rank, 4, port, "--rendezvous", "6") for rank in (0, 1)]
    for process in processes:
        done = process.wait()
        assert done.returncode == 2
        place = f"127.0.0.1:{port}"
        assert f"ranks 2 and 3 of 4 did not arrive at {place} within 6 s" in done.stderr
        assert "Traceback" not in done.stderr


def test_processes_with_variables_and_no_agent_meet() -> None:
    port = free_port()
    processes = [start(rank, 2, port) for rank in (0, 1)]
    for process in processes:
        done = process.wait()
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("ranks [0, 1] {'named by': 0}")


def test_a_rank_that_loses_another_says_so_in_one_line() -> None:
    port = free_port()
    deed = ("--steps", "5", "--at", "3", "--rank", "1", "--do", "kill")
    stays, ends = (start(rank, 2, port, *deed) for rank in (0, 1))
    done = stays.wait()
    ends.wait()
    assert done.returncode == PeerLost.exit_code
    assert "error: rank 0 of 2 lost another rank in step 3; that one ended or hangs" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_bug_without_an_agent_shows_rank_and_step_below_its_traceback() -> None:
    port = free_port()
    deed = ("--steps", "5", "--at", "3", "--rank", "1", "--do", "bug")
    stays, ends = (start(rank, 2, port, *deed) for rank in (0, 1))
    done = ends.wait()
    stays.wait()
    assert done.returncode == 1
    assert "ZeroDivisionError: a bug of the test" in done.stderr
    assert done.stderr.splitlines()[-1].endswith("in rank 1 of 2, step 3")


def test_a_bug_between_collectives_is_not_taken_for_a_lost_rank() -> None:
    world = World(0, 2, 0, torch.device("cpu"))
    with pytest.raises(RuntimeError, match="shape"), world.together("in step 1"):
        torch.zeros(2).view(3)
    with pytest.raises(PeerLost, match="in step 1"), world.together("in step 1"):
        raise RuntimeError("[gloo/transport/tcp/pair.cc] Connection closed by peer")


_POD = {**_PLACE, "RANK": "1", "WORLD_SIZE": "2"}
_TWO_MACHINES = Launch(nnodes="2", rdzv_endpoint="node-0:29400")
_TORCHRUN = {"LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "run"}


@pytest.mark.parametrize(
    ("environment", "plan", "worker"),
    [
        ({}, Launch(), False),
        ({}, Launch(nproc=2), False),
        (_POD, Launch(), True),
        ({**_POD, **_TORCHRUN}, Launch(), True),
        ({**_POD, **_TORCHRUN, "PET_NPROC_PER_NODE": "2", "PET_NNODES": "2"}, Launch(), True),
        # Master and Worker of an operator: flags win.
        (_POD, _TWO_MACHINES, False),
        (
            {**_POD, "WORLD_SIZE": "4", "PET_NPROC_PER_NODE": "2"},
            Launch(nproc=2, nnodes="2", rdzv_endpoint="node-0:29400"),
            False,
        ),
        ({**_POD, "RANK": "0"}, Launch(nproc=2), False),
        ({"RANK": "", "WORLD_SIZE": ""}, Launch(nproc=2), False),
        ({"PET_NNODES": "2:2", "PET_NPROC_PER_NODE": "auto"}, _TWO_MACHINES, False),
        ({"PET_NNODES": "1:1", "PET_NPROC_PER_NODE": "auto"}, Launch(), False),
    ],
)
def test_flags_start_processes_and_variables_tell_that_they_are_started(
    environment: dict[str, str], plan: Launch, worker: bool
) -> None:
    assert is_worker(environment, plan) == worker


@pytest.mark.parametrize(
    ("environment", "plan", "message"),
    [
        ({**_POD, **_TORCHRUN}, Launch(nproc=2), "this process has been started as one of several"),
        (
            _POD,
            Launch(nproc=2),
            "RANK 1 and WORLD_SIZE 2 tell of another run than the flags, which",
        ),
        ({**_POD, "RANK": "0", "WORLD_SIZE": "4"}, Launch(nproc=2), "WORLD_SIZE 4 tell of another"),
        ({**_POD, "WORLD_SIZE": "3"}, _TWO_MACHINES, "for 2 machines with 1 processes each"),
        ({**_POD, "RANK": "x"}, _TWO_MACHINES, "environment variable RANK: 'x' is not a whole"),
        # Nobody would start the others.
        (
            {**_POD, "WORLD_SIZE": "4", "PET_NPROC_PER_NODE": "2"},
            Launch(),
            "PET_NPROC_PER_NODE asks for 2 processes on each machine, which nobody starts",
        ),
        ({"PET_NNODES": "2"}, Launch(), "PET_NNODES asks for 2 machines, which nobody starts"),
        ({"PET_NNODES": "1:4"}, Launch(), "PET_NNODES asks for 4 machines"),
    ],
)
def test_flags_and_variables_that_contradict_each_other_are_told(
    environment: dict[str, str], plan: Launch, message: str
) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        is_worker(environment, plan)


def test_what_the_first_rank_does_alone_may_take_longer_than_a_collective() -> None:
    port = free_port()
    times = ("--collective", "2", "--alone", "5")
    processes = [start(rank, 2, port, *times) for rank in (0, 1)]
    for process in processes:
        done = process.wait()
        assert done.returncode == 0, done.stderr


def test_a_first_rank_that_stands_still_alone_is_noticed() -> None:
    port = free_port()
    times = ("--collective", "2", "--alone", "5")
    first, other = (start(rank, 2, port, *times, "--stops") for rank in (0, 1))
    done = other.wait()
    assert done.returncode == PeerLost.exit_code
    assert "error: lost rank 0: it has given no sign of life for 2 s" in done.stderr
    first.process.kill()
    first.wait()


def test_a_first_rank_that_stands_still_while_they_meet_is_noticed() -> None:
    port = free_port()
    first, other = (start(rank, 2, port, "--collective", "2", "--freezes") for rank in (0, 1))
    done = other.wait()
    assert done.returncode == PeerLost.exit_code
    assert "lost another rank while the ranks were meeting" in done.stderr
    first.process.kill()
    first.wait()
