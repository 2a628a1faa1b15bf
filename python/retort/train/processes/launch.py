"""Starting the processes of a run: one machine, several, or as many as there happen to be.

This is what is typed; `retort.train.processes.agent` is what becomes of it.
"""

import argparse
import json
import os
import re
import signal
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import NoReturn

from retort.core.cli import positive
from retort.core.errors import UserError, shown
from retort.core.forks.client import fork_server
from retort.core.signals import SIGNALS

_RUN = "retort"
ELASTIC = "retort.train.processes.elastic"
"""The module of the agent that takes long to load."""
WORKER_VARIABLES = {"TORCH_CPP_LOG_LEVEL": "ERROR"}
"""Of workers. PyTorch reads it while it is loaded: what its C++ says is errors alone."""
COLLECTIVE_TIMEOUT_S = 300
"""How long a rank waits for the others by default, when it is not known why they do not come."""
_MOST = 10_000_000
"""Of seconds or restarts: four months. Clocks of libraries overflow somewhere behind it."""


@dataclass(frozen=True)
class Launch:
    """How many processes a run has, and where they meet.

    Attributes:
        nproc: processes on this machine.
        nnodes: machines, as "2", or as "1:4" where some may come and go.
        rdzv_endpoint: "host:port" where machines meet, the same on all; that host must stay.
        rdzv_id: tells runs apart that meet at one endpoint.
        max_restarts: how often all processes are started again after one failed.
        grace_s: how long workers may take to save and leave when asked to stop.
        join_timeout_s: how long to wait for the other machines.
    Raises:
        UserError: a value is not possible, or machines do not know where to meet.
    """

    nproc: int = 1
    nnodes: str = "1"
    rdzv_endpoint: str = ""
    rdzv_id: str = _RUN
    max_restarts: int = 0
    grace_s: int = 60
    join_timeout_s: int = 600

    def __post_init__(self) -> None:
        for name, least in (
            ("nproc", 1),
            ("max_restarts", 0),
            ("grace_s", 0),
            ("join_timeout_s", 1),
        ):
            value = getattr(self, name)
            if value < least:
                raise UserError(f"{_flag(name)}: {value} is less than {least}")
            if value > _MOST:
                raise UserError(f"{_flag(name)}: {value} is more than {_MOST}")
        low, high = self.nodes
        if not 1 <= low <= high:
            raise UserError(f"--nnodes: {self.nnodes!r}: give 1 or more, the smaller number first")
        if self.rdzv_endpoint:
            _check_endpoint(self.rdzv_endpoint)
        elif high > 1:
            raise UserError(
                "--nnodes: several machines meet somewhere; add --rdzv-endpoint HOST:PORT"
            )

    @property
    def nodes(self) -> tuple[int, int]:
        """The least and the largest number of machines."""
        found = re.fullmatch(r"([0-9]{1,6})(?::([0-9]{1,6}))?", self.nnodes, re.ASCII)
        if found is None:
            raise UserError(f"--nnodes: {self.nnodes!r} is neither a number, such as 2, nor 1:4")
        low = int(found[1])
        return low, int(found[2]) if found[2] else low

    @property
    def is_plain(self) -> bool:
        """Whether there is but one process, which needs nobody to start it."""
        return self.nproc == 1 and self.nodes == (1, 1) and self.max_restarts == 0


def add_launch_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say how many processes a run has."""
    group = parser.add_argument_group("processes")
    group.add_argument(
        "--nproc", type=int, default=1, metavar="N", help="processes on this machine"
    )
    group.add_argument(
        "--nnodes",
        default="1",
        metavar="N|MIN:MAX",
        help="machines, each of which runs this command; a range where they may come and go",
    )
    group.add_argument(
        "--rdzv-endpoint",
        default="",
        metavar="HOST:PORT",
        help="where several machines meet: a machine of them that stays, and a free port there",
    )
    group.add_argument(
        "--rdzv-id", default=_RUN, metavar="NAME", help="tells runs apart that meet at one endpoint"
    )
    group.add_argument(
        "--max-restarts",
        type=int,
        default=0,
        metavar="N",
        help="start all processes again, from the last checkpoint, after a failure; at most N times",
    )
    group.add_argument(
        "--grace",
        type=int,
        default=60,
        metavar="SECONDS",
        help="how long processes may take to save and leave when asked to stop",
    )
    group.add_argument(
        "--join-timeout",
        type=int,
        default=600,
        metavar="SECONDS",
        help="how long to wait for the other machines",
    )


def seconds(text: str) -> int:
    """A time to wait, as the type of an argument."""
    number = positive(text)
    if number > _MOST:
        raise argparse.ArgumentTypeError(f"{number} is more than {_MOST}")
    return number


def launch_from(options: argparse.Namespace) -> Launch:
    """What was typed.

    Raises:
        UserError: it is not possible.
    """
    return Launch(
        nproc=options.nproc,
        nnodes=options.nnodes,
        rdzv_endpoint=options.rdzv_endpoint,
        rdzv_id=options.rdzv_id,
        max_restarts=options.max_restarts,
        grace_s=options.grace,
        join_timeout_s=options.join_timeout,
    )


def without_launch_arguments(arguments: Sequence[str]) -> list[str]:
    """The arguments of a worker: those typed, less the ones that say how many there are."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    add_launch_arguments(parser)
    return parser.parse_known_args(list(arguments))[1]


def fork_workers(*imports: str) -> AbstractContextManager[None]:
    """Have what is started inside forked from a process that has imported these modules."""
    return fork_server(*imports, **WORKER_VARIABLES)


def launch(plan: Launch, imports: str, command: Sequence[str]) -> NoReturn:
    """Become the agent that runs a module as the workers of a run, until all have ended.

    Standard output and standard error of rank 0 are this process's own. When a worker fails the
    others are ended, and one block on standard error tells the rank, the step and the cause.
    SIGTERM, SIGHUP and Ctrl-C are passed on; workers that are still there after `grace_s` are
    killed. None outlives this process, however it ends.

    The process ends with 0; 2 when a worker failed by the user's mistake, or the machines did not
    meet; 128 and the number of a signal that ended it or a worker; `PeerLost.exit_code` when another
    machine was lost; otherwise 1, or the exit code of a worker that gave no reason.

    Args:
        imports: a module that workers import, which is done once for all of them where they can be
            forked (`retort.core.forks`).
        command: a module and its arguments, run with torchrun's variables.
    """
    arguments = [json.dumps(asdict(plan)), imports, *command]
    if ELASTIC in sys.modules:
        # This process was forked from one that has loaded the agent's libraries.
        from retort.train.processes.agent import main

        raise SystemExit(main(arguments))
    sys.stdout.flush()
    sys.stderr.flush()
    # Until the new program hears them.
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    agent = [sys.executable, "-m", "retort.train.processes.agent", *arguments]
    os.execv(sys.executable, agent)


def _check_endpoint(text: str) -> None:
    host, _, port = text.rpartition(":")
    if (
        not re.fullmatch(r"\[[\w.:-]+\]|[\w.:-]+", host)
        or not re.fullmatch(r"[0-9]{1,5}", port, re.ASCII)
        or not 1 <= int(port) <= 65535
    ):
        raise UserError(f"--rdzv-endpoint: {shown(text)!r} is not HOST:PORT, such as node-0:29400")


def _flag(name: str) -> str:
    return "--" + name.removesuffix("_s").replace("_", "-")
