"""A worker that does as it is told: steps in which all ranks meet, and one way for a rank to end.

python -m tests.processes.train [--steps N] [--at STEP --rank RANK --do WHAT] [--timeout S] ...
"""

import argparse
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retort.core.cli import run
from retort.core.errors import UserError
from retort.train.processes.environment import is_worker
from retort.train.processes.launch import (
    add_launch_arguments,
    launch,
    launch_from,
    without_launch_arguments,
)

if TYPE_CHECKING:
    from torch.distributed import Store  # type: ignore[attr-defined]

    from retort.train.processes.stop import StopRequest
    from retort.train.processes.world import World

LIBRARIES = "retort.train.processes.world"
"""What a worker imports that takes long."""


def main(arguments: Sequence[str]) -> int:
    """Be a worker, alone or of several; or start as many as the flags say."""
    parser = argparse.ArgumentParser()
    add_launch_arguments(parser)
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--until", type=Path, metavar="FILE", help="go on until it is there")
    parser.add_argument("--pause", type=float, default=0.0)
    parser.add_argument("--at", type=int)
    parser.add_argument("--rank", type=int)
    parser.add_argument("--do", choices=sorted(_DEEDS))
    parser.add_argument("--rendezvous", type=float, default=60.0)
    parser.add_argument("--collective", type=float, default=60.0)
    parser.add_argument("--alone", type=float, help="seconds that rank 0 takes before all begin")
    parser.add_argument("--stops", action="store_true", help="rank 0 stands still then")
    parser.add_argument("--freezes", action="store_true", help="rank 0, when another connects")
    parser.add_argument("--saving", type=float, default=0.0)
    parser.add_argument("--traces", type=Path)
    options = parser.parse_args(arguments)
    plan = launch_from(options)
    if not is_worker(os.environ, plan) and not plan.is_plain:
        worker = ["tests.processes.train", *without_launch_arguments(arguments)]
        launch(plan, LIBRARIES, worker)
    return _work(options)


def _work(options: argparse.Namespace) -> int:
    # What only starts others does without.
    import torch

    from retort.train.processes.failures import recorded
    from retort.train.processes.stop import stop_request
    from retort.train.processes.world import joined

    if options.freezes:
        _freeze(os.environ["RANK"] == "0")
    with (
        recorded(os.environ) as mark,
        joined(os.environ, options.rendezvous, collective_timeout_s=options.collective) as world,
        stop_request() as stop,
    ):
        trace(options.traces, world, f"joined {world.size}")
        print(f"rank {world.rank} is here", file=sys.stderr, flush=True)
        if options.alone is not None:
            world.barrier("before the first rank is alone")
            world.alone(lambda: _alone(options.alone, options.stops))
        step, more = 0, True
        while more:
            step += 1
            mark.at(step)
            if step == options.at and world.rank == options.rank:
                _DEEDS[options.do]()
            ranks = world.gather(torch.tensor([world.rank]), f"in step {step}")
            trace(options.traces, world, f"step {step}")
            time.sleep(options.pause)
            if world.any(stop.requested, f"in step {step}"):
                _save_and_leave(stop, world, options.traces, options.saving)
            held = options.until is not None and not options.until.exists()
            more = world.any(step < options.steps or held, f"in step {step}")
        name = world.broadcast_object({"named by": world.rank})
        world.barrier("end")
        print(f"ranks {ranks.flatten().tolist()} {name} threads {torch.get_num_threads()}")
    return 0


def trace(directory: Path | None, world: "World", what: str) -> None:
    """Leave a line in a file of this process."""
    if directory is not None:
        with (directory / f"{os.getpid()}").open("a", encoding="utf-8") as file:
            file.write(f"rank {world.rank} {what}\n")


def living_workers(directory: Path) -> list[int]:
    """The processes that left a trace here and still run."""
    found = []
    for number in (int(name) for name in os.listdir(directory)):
        try:
            state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if state not in "ZX":
            found.append(number)
    return found


def free_port() -> int:
    """A port of this machine where nobody listens now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _alone(seconds: float, stops: bool) -> None:
    if stops:
        os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(seconds)


def _freeze(first: bool) -> None:
    """Have the first rank stand still when another has begun to connect to it."""
    from torch import distributed

    connect = distributed.init_process_group

    def begin(backend: str, store: "Store", **more: Any) -> None:
        if first:
            store.wait(["connects"])
            os.kill(os.getpid(), signal.SIGSTOP)
        store.set("connects", "")
        connect(backend, store=store, **more)

    vars(distributed)["init_process_group"] = begin


def _save_and_leave(
    stop: "StopRequest", world: "World", traces: Path | None, seconds: float
) -> None:
    time.sleep(seconds)
    trace(traces, world, "saved")
    stop.leave()


def _bug() -> None:
    raise ZeroDivisionError("a bug of the test")


def _mistake() -> None:
    raise UserError("data.path: there is nothing; give another")


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _hang() -> None:
    time.sleep(10_000)


def _speak_and_abort() -> None:
    print("last words", file=sys.stderr, flush=True)
    os.abort()


_DEEDS = {
    "bug": _bug,
    "mistake": _mistake,
    "kill": _kill,
    "hang": _hang,
    "abort": _speak_and_abort,
}

if __name__ == "__main__":
    run(main)
