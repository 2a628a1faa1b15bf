"""What torch's elastic agent is told, which starts the workers of a run on this machine.

https://docs.pytorch.org/docs/stable/elastic/run.html
"""

import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from torch.distributed.elastic.multiprocessing import SignalException, api
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.elastic.multiprocessing.subprocess_handler import SubprocessHandler
from torch.distributed.elastic.rendezvous.api import (
    RendezvousClosedError,
    RendezvousConnectionError,
    RendezvousTimeoutError,
)
from torch.distributed.launcher.api import LaunchConfig, launch_agent

from retort.core.errors import UserError
from retort.core.forks.client import start
from retort.core.signals import SIGNALS, deliver, deliver_again
from retort.train.processes.launch import Launch
from retort.train.processes.worker_files import RankFiles
from retort.train.processes.world import PeerLost

# How much longer to wait for more machines when the least number is there.
_LAST_CALL_S = 5
# How long the agent may take to end after its workers have, and until it has ended them.
_ANSWER_S, _GIVEN_UP_S = 10.0, 60.0
_LOOK_S = 0.5


def run_workers(plan: Launch, command: Sequence[str], hosts: bool | None) -> int:
    """Run the workers that `retort.train.processes.launch.launch` asks for; return what to end with.

    Args:
        command: what each of them is, a module and its arguments.
        hosts: whether the machines meet at this one, if that is known.

    Raises:
        UserError: the place where they meet, which a person has named, cannot be reached.
        PeerLost: the other machines did not come, or the one where they meet has ended, or the run.
    """
    # The agent asks this function, and nothing else, for a process.
    vars(api)["get_subprocess_handler"] = _Worker
    _silence_the_agent()
    _hold_back_signals()
    sys.unraisablehook = _deliver_again
    low, high = plan.nodes
    if high > 1:
        # An agent that is not rank 0 remembers a shared store's address when rank 0 has moved.
        os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    meeting: dict[str, object] = {
        "join_timeout": plan.join_timeout_s,
        "read_timeout": plan.join_timeout_s,
        "last_call_timeout": _LAST_CALL_S,
    }
    if high > 1 and hosts is not None:
        meeting["is_host"] = hosts
    with tempfile.TemporaryDirectory(prefix="retort-ranks-") as directory, _handlers_kept():
        files = RankFiles(Path(directory))
        again_s = plan.join_timeout_s if plan.max_restarts else 0
        _end_if_cut_off(files, again_s + _ANSWER_S, again_s + plan.grace_s + _GIVEN_UP_S)
        config = LaunchConfig(
            min_nodes=low,
            max_nodes=high,
            nproc_per_node=plan.nproc,
            logs_specs=files,
            run_id=plan.rdzv_id,
            rdzv_backend="c10d",
            rdzv_endpoint=plan.rdzv_endpoint or "localhost:0",
            rdzv_configs=meeting,
            max_restarts=plan.max_restarts,
            monitor_interval=0.1,
            signals_to_handle=",".join(
                number.name for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN
            ),
        )
        if hasattr(config, "shutdown_timeout"):  # torch 2.11 has none, and waits 30 s
            config.shutdown_timeout = plan.grace_s
        try:
            # The agent fills in ${local_rank} as string.Template does.
            launch_agent(config, command[0], [part.replace("$", "$$") for part in command[1:]])
        except ChildFailedError as error:
            code, text = files.failure(error.failures)
            print(text, file=sys.stderr)
            return code
        except SignalException as error:
            print(f"stopped by {signal.Signals(error.sigval).name}", file=sys.stderr)
            return 128 + int(error.sigval)
        except RendezvousTimeoutError:
            raise PeerLost(
                f"fewer than {low} machines came to {plan.rdzv_endpoint} within "
                f"{plan.join_timeout_s} s; see whether all run this command with the same "
                "--rdzv-endpoint, --rdzv-id and --nnodes"
            ) from None
        except RendezvousConnectionError as error:
            lost = files.lost_peer()
            if lost is not None:
                print(lost[0], file=sys.stderr)
                return PeerLost.exit_code
            if files.starts > 0 or _was_reached(error):
                raise PeerLost(
                    f"lost {plan.rdzv_endpoint}, where the machines meet: that machine has ended"
                ) from None
            if hosts is not None:
                # An operator has named the place: its pod waits for a machine, or for its name.
                raise PeerLost(
                    f"{plan.rdzv_endpoint}, where the machines meet, cannot be reached within "
                    f"{plan.join_timeout_s} s"
                ) from None
            raise UserError(
                f"--rdzv-endpoint: {plan.rdzv_endpoint} cannot be reached; it must be one of the "
                "machines of this run, running, with that port free"
            ) from None
        except RendezvousClosedError:
            # As when this machine is back before those that lost it have left.
            raise PeerLost(
                f"the run {plan.rdzv_id!r} at {plan.rdzv_endpoint} has ended; start all machines "
                "again, or choose another --rdzv-id"
            ) from None
    return 0


def _was_reached(error: RendezvousConnectionError) -> bool:
    """Whether the place where machines meet had answered before the connection to it broke.

    The agent raises the same error where it makes the connection, and everywhere else.
    """
    frames = traceback.walk_tb(error.__traceback__)
    return all(frame.f_code.co_name != "_create_tcp_store" for frame, _ in frames)


def _end_if_cut_off(files: RankFiles, alone_s: float, others_s: float) -> None:
    """End this process when a rank has lost another, and the agent does not do so.

    It asks the store where machines meet, and has no answer where the network between them is cut.

    Args:
        alone_s: how long to wait for the agent when no worker is left here.
        others_s: when it has to end some.
    """

    def watch() -> None:
        since, start = float("inf"), 0
        while True:
            time.sleep(_LOOK_S)
            # Between two looks the agent may lay out another start.
            lost = files.lost_peer() if files.starts == start else None
            start = files.starts
            if lost is None:
                since = float("inf")
                continue
            since = min(since, time.monotonic())
            if time.monotonic() - since > (alone_s if lost[1] else others_s):
                os.write(2, f"{lost[0]}\n".encode())
                shutil.rmtree(files.root_log_dir, ignore_errors=True)
                os._exit(PeerLost.exit_code)  # and with it its workers

    threading.Thread(target=watch, daemon=True).start()


class _Worker(SubprocessHandler):
    """How the agent starts a worker, which does not outlive it."""

    def _popen(self, args: tuple[str, ...], env: dict[str, str]) -> "subprocess.Popen[bytes]":
        process = start(args, env, self._stdout, self._stderr, quietly=True)
        # A forked one has all of it that the agent uses.
        return cast("subprocess.Popen[bytes]", process)


def _hold_back_signals() -> None:
    """Have workers begin with signals held back, until they can hear them (`retort.core.signals.starting`).

    They inherit that from the thread that starts them, this one. Another hears signals instead, and
    Python runs their handlers here all the same.
    """
    threading.Thread(target=_hear_signals, daemon=True).start()
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


def _hear_signals() -> None:
    while True:
        signal.pause()


def _deliver_again(lost: "sys.UnraisableHookArgs") -> None:
    """As `retort.core.cli` does, for what the agent's own handlers raise."""
    if isinstance(lost.exc_value, SignalException):
        deliver(lost.exc_value.sigval)
    else:
        deliver_again(lost)


def _silence_the_agent() -> None:
    """What it would say we say; each of its loggers has a level of its own."""
    for name, logger in logging.root.manager.loggerDict.items():
        if isinstance(logger, logging.Logger) and name.startswith("torch.distributed"):
            logger.setLevel(logging.CRITICAL + 1)


@contextmanager
def _handlers_kept() -> Iterator[None]:
    """The agent sets signal handlers and leaves them; those before it come back here."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
