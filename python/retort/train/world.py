"""The processes of one run: who this one is, and how it talks to the others.

The only reader of the variables that torchrun, and operators that stand in for it such as
Kubeflow's PyTorchJob, set: RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT, LOCAL_RANK,
LOCAL_WORLD_SIZE, TORCHELASTIC_USE_AGENT_STORE and TORCHELASTIC_ERROR_FILE
(https://docs.pytorch.org/docs/stable/elastic/run.html#environment-variables).
"""

import atexit
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor

from retort.core.cli import exit_code
from retort.core.errors import RetortError, UserError
from retort.train.arrival import Endpoint, arrive

_REQUIRED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
# gloo and NCCL raise plain RuntimeErrors; what they say tells a lost connection from a bug.
_LOST = re.compile(
    r"gloo|nccl|socket|connection|broken pipe|timed? ?out|recvvalue|sendbytes", re.IGNORECASE
)
_BUG = re.compile(r"enforce fail|EnforceNotMet|invalid argument|invalid usage", re.IGNORECASE)

Value = TypeVar("Value")


class PeerLost(RetortError):
    """Another rank ended or hangs, so that what all ranks do together cannot be finished."""


@dataclass(frozen=True)
class World:
    """All processes of a run, seen by one of them.

    Every method is a collective: all ranks call it in the same order. Alone (`size` 1) each
    returns at once and no process group exists.

    Attributes:
        rank: of this process, from 0; below `size`.
        local_rank: of this process among those of its machine.
        device: where this process computes.
    """

    rank: int
    size: int
    local_rank: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this is the process that speaks and writes for all."""
        return self.rank == 0

    @contextmanager
    def together(self, doing: str) -> Iterator[None]:
        """Name what the ranks do together, for the case that one of them is lost meanwhile.

        Args:
            doing: where this rank is, such as "in step 12".
        Raises:
            PeerLost: the connection to another rank broke, or it did not answer in time.
        """
        try:
            yield
        except RuntimeError as error:
            text = str(error)
            if not isinstance(error, dist.DistError) and (
                _BUG.search(text) or not _LOST.search(text)
            ):
                raise
            raise PeerLost(
                f"rank {self.rank} of {self.size} lost another rank {doing}; that one ended or hangs, "
                f"and its own error says why ({_first_line(text)})"
            ) from error

    def gather(self, values: Tensor, doing: str = "while gathering") -> Tensor:
        """The values of all ranks.

        Args:
            values: 1-d, of equal length and dtype on all ranks.
        Returns:
            [size, length], on the device of `values`.
        Raises:
            PeerLost
        """
        if self.size == 1:
            return values.unsqueeze(0).clone()
        with self.together(doing):
            mine = values.contiguous()
            rows = [torch.empty_like(mine) for _ in range(self.size)]
            dist.all_gather(rows, mine)
            return torch.stack(rows)

    def any(self, flag: bool, doing: str = "while agreeing") -> bool:
        """Whether any rank raises its flag, so that all take the same decision at the same step.

        Raises:
            PeerLost
        """
        return bool(self.gather(torch.tensor([flag], dtype=torch.uint8), doing).any())

    def broadcast_object(self, value: Value, doing: str = "while broadcasting") -> Value:
        """Rank 0's value, on all ranks; pickled on the way.

        Raises:
            PeerLost
        """
        if self.size == 1:
            return value
        with self.together(doing):
            values: list[Any] = [value]
            dist.broadcast_object_list(values, src=0, device=torch.device("cpu"))
            return cast(Value, values[0])

    def barrier(self, name: str) -> None:
        """Wait until all ranks are here.

        Raises:
            PeerLost
        """
        self.any(False, f"at the barrier {name!r}")


def is_worker(environment: Mapping[str, str]) -> bool:
    """Whether torchrun, or something in its place, started this process as one of several."""
    return "RANK" in environment and "WORLD_SIZE" in environment


def rank_name(environment: Mapping[str, str]) -> str:
    """How to name this process in a message, before it has joined the others and after."""
    return f"rank {environment.get('RANK', 0)} of {environment.get('WORLD_SIZE', 1)}"


def error_file(environment: Mapping[str, str]) -> Path | None:
    """Where the agent that started this process wants to find its failure, if there is one."""
    path = environment.get("TORCHELASTIC_ERROR_FILE")
    return Path(path) if path else None


@contextmanager
def joined(
    environment: Mapping[str, str], timeout_s: float, *, collective_timeout_s: float = 1800.0
) -> Iterator[World]:
    """Meet the other processes of the run, and leave them at the end.

    Without any of torchrun's variables this process is alone, and nothing is set up. Groups are
    gloo on CPUs, and NCCL on CUDA for tensors that lie there.

    Args:
        timeout_s: how long to wait for the other ranks to arrive.
        collective_timeout_s: how long one collective may wait for the other ranks.
    Raises:
        UserError: a variable is missing or malformed, a rank did not arrive, the port is taken,
            the host is unknown, or the machine has fewer CUDA devices than ranks.
        PeerLost: another rank ended while it was awaited.
    """
    if not any(environment.get(name) for name in _REQUIRED):
        yield World(0, 1, 0, _device(0))
        return
    endpoint = _endpoint(environment)
    local_rank = _number(environment, "LOCAL_RANK", 0)
    world = World(endpoint.rank, endpoint.size, local_rank, _device(local_rank))
    if world.size == 1:
        yield world
        return
    with world.together("while the ranks were meeting"):
        store = arrive(endpoint, timeout_s)
        if world.device.type == "cuda":
            torch.cuda.set_device(world.device)
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if world.device.type == "cuda" else "gloo",
            store=store,
            rank=world.rank,
            world_size=world.size,
            timeout=timedelta(seconds=collective_timeout_s),
        )
    try:
        yield world
    except BaseException as error:
        # To destroy the group could wait for the very rank that is lost, and not to destroy it
        # can end in an abort of its threads when the interpreter goes.
        atexit.register(_end, exit_code(error))
        raise
    dist.destroy_process_group()


def _end(code: int) -> None:
    """End this process when all of Python's own is done, and before libraries clean up."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _endpoint(environment: Mapping[str, str]) -> Endpoint:
    missing = [name for name in _REQUIRED if not environment.get(name)]
    if missing:
        there = [name for name in _REQUIRED if environment.get(name)]
        raise UserError(
            f"environment variable {' and '.join(missing)} is not set, though "
            f"{' and '.join(there)} is; set all of {', '.join(_REQUIRED)}, or none to train alone"
        )
    size = _number(environment, "WORLD_SIZE", 1)
    rank, port = _number(environment, "RANK", 0), _number(environment, "MASTER_PORT", 1)
    if rank >= size:
        raise UserError(f"environment variable RANK: {rank} is not below WORLD_SIZE, {size}")
    if port > 65535:
        raise UserError(f"environment variable MASTER_PORT: {port} is not a port; give 1 to 65535")
    agent = environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    return Endpoint(environment["MASTER_ADDR"], port, rank, size, hosted_by_agent=agent)


def _number(environment: Mapping[str, str], name: str, least: int) -> int:
    text = environment.get(name, str(least))
    if not re.fullmatch(r"[0-9]+", text, re.ASCII) or int(text) < least:
        raise UserError(
            f"environment variable {name}: {text!r} is not a whole number from {least} on"
        )
    return int(text)


def _device(local_rank: int) -> torch.device:
    if not torch.cuda.is_available():
        return torch.device("cpu")
    if local_rank >= torch.cuda.device_count():
        raise UserError(
            f"local rank {local_rank} needs a CUDA device of its own, and this machine has "
            f"{torch.cuda.device_count()}; start fewer processes here"
        )
    return torch.device("cuda", local_rank)


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0][:200] if text.strip() else "no more is known"
