"""The processes of one run: who this one is, and how it talks to the others."""

import atexit
import itertools
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import Store  # type: ignore[attr-defined]

from retort.core.cli import exit_code
from retort.core.errors import RetortError, UserError
from retort.train.processes.environment import endpoint_of, number_of
from retort.train.processes.launch import COLLECTIVE_TIMEOUT_S
from retort.train.processes.rendezvous import arrive

# gloo and NCCL raise plain RuntimeErrors; what they say tells a lost connection from a bug.
_LOST = re.compile(
    r"gloo|nccl|socket|connection|broken pipe|timed? ?out|recvvalue|sendbytes", re.IGNORECASE
)
_BUG = re.compile(r"enforce fail|EnforceNotMet|invalid argument|invalid usage", re.IGNORECASE)

_POLL_S = 0.05
_SIGN_S = 5.0

Value = TypeVar("Value")


class PeerLost(RetortError):
    """Another rank ended or hangs, so that what all ranks do together cannot be finished.

    Whoever starts processes again, such as Kubernetes, does so from 128 on: nothing is wrong here.
    """

    exit_code = 200


@dataclass(frozen=True)
class World:
    """All processes of a run, seen by one of them.

    Every method is a collective: all ranks call it in the same order. Alone (`size` 1) each
    returns at once and no process group exists.

    Attributes:
        rank: of this process, from 0; below `size`.
        local_rank: of this process among those of its machine.
        device: where this process computes.
        store: where the ranks have met; None alone.
        patience_s: how long to wait for a sign of another rank.
        shares_gpus: whether ranks may have the same device, between which NCCL carries nothing.
    """

    rank: int
    size: int
    local_rank: int
    device: torch.device
    store: Store | None = None
    patience_s: float = COLLECTIVE_TIMEOUT_S
    shares_gpus: bool = False
    _calls: Iterator[int] = field(default_factory=itertools.count, repr=False, compare=False)

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

    def alone(self, function: Callable[[], None]) -> None:
        """Have the first rank call a function, however long it takes, while the others wait for it.

        Raises:
            PeerLost: the first rank gives no sign of life any more.
        """
        name = "what the first rank does alone"
        if self.store is None:
            if self.is_main:
                function()
        elif self.is_main:
            with _signs_of_life(self.store, f"alone/{next(self._calls)}", self.patience_s):
                function()
        else:
            with self.together(f"at {name}"):
                _watch(self.store, f"alone/{next(self._calls)}", self.patience_s)
        self.barrier(name)

    def barrier(self, name: str) -> None:
        """Wait until all ranks are here.

        Raises:
            PeerLost
        """
        self.any(False, f"at the barrier {name!r}")


@contextmanager
def joined(
    environment: Mapping[str, str],
    timeout_s: float,
    *,
    collective_timeout_s: float = COLLECTIVE_TIMEOUT_S,
    share_gpus: bool = False,
) -> Iterator[World]:
    """Meet the other processes of the run, and leave them at the end.

    Without any of torchrun's variables this process is alone, and nothing is set up. Groups are
    gloo on CPUs, and NCCL on CUDA for tensors that lie there.

    Args:
        timeout_s: how long to wait for the other ranks to arrive.
        collective_timeout_s: how long one collective may wait for the other ranks.
        share_gpus: whether more processes may run on a machine than it has GPUs.
    Raises:
        UserError: a variable is missing or malformed, a rank did not arrive, the port is taken,
            the host is unknown, or the machine has fewer CUDA devices than ranks.
        PeerLost: another rank ended while it was awaited.
    """
    endpoint = endpoint_of(environment)
    if endpoint is None:
        yield World(0, 1, 0, _device(0))
        return
    local_rank = number_of(environment, "LOCAL_RANK", 0)
    device = _device(local_rank, share_gpus)
    world = World(endpoint.rank, endpoint.size, local_rank, device, shares_gpus=share_gpus)
    if world.size == 1:
        yield world
        return
    with world.together("while the ranks were meeting"):
        store = arrive(endpoint, timeout_s)
        if world.device.type == "cuda":
            torch.cuda.set_device(world.device)

    def connect() -> None:
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if world.device.type == "cuda" else "gloo",
            store=store,
            rank=world.rank,
            world_size=world.size,
            timeout=timedelta(seconds=collective_timeout_s),
        )

    try:
        with world.together("while the ranks were meeting"):
            # Its own timeout holds for ranks, and not for the store, whose host may stand still.
            _within(collective_timeout_s + _SIGN_S, connect)
        yield replace(world, store=store, patience_s=collective_timeout_s)
    except BaseException as error:
        # To destroy the group could wait for the very rank that is lost, and not to destroy it
        # can end in an abort of its threads when the interpreter goes.
        atexit.register(_end, exit_code(error))
        raise
    dist.destroy_process_group()


def _within(seconds: float, function: Callable[[], None]) -> None:
    """Call a function in another thread, which is left behind if it takes too long.

    Raises:
        PeerLost: it does; or what it raises.
    """
    done = threading.Event()
    raised: list[BaseException] = []

    def call() -> None:
        try:
            function()
        except BaseException as error:  # handed to the thread that waits
            raised.append(error)
        done.set()

    threading.Thread(target=call, daemon=True).start()
    if not done.wait(seconds):
        raise PeerLost(
            f"lost another rank while the ranks were meeting: no answer for {seconds:g} s"
        )
    if raised:
        raise raised[0]


@contextmanager
def _signs_of_life(store: Store, key: str, patience_s: float) -> Iterator[None]:
    """Count up in the store while the block runs, and say there when it has ended well."""
    over = threading.Event()

    def count() -> None:
        with suppress(RuntimeError):  # the store is lost, which the other ranks notice as well
            while not over.wait(min(_SIGN_S, patience_s / 10)):
                store.add(f"{key}/signs", 1)

    thread = threading.Thread(target=count, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    store.set(f"{key}/done", "")


def _watch(store: Store, key: str, patience_s: float) -> None:
    """Wait for the end of `_signs_of_life`.

    The store is asked by another thread: where the process that hosts it stands still, or its
    network is cut, an answer may never come.
    """
    done = threading.Event()
    seen = [time.monotonic()]
    lost: list[RuntimeError] = []

    def look() -> None:
        signs = 0
        try:
            while not store.check([f"{key}/done"]):
                count = store.add(f"{key}/signs", 0)
                if count != signs:
                    signs, seen[0] = count, time.monotonic()
                time.sleep(_POLL_S)
        except RuntimeError as error:  # handed to the thread that waits
            lost.append(error)
        done.set()

    threading.Thread(target=look, daemon=True).start()
    while not done.wait(_POLL_S):
        if time.monotonic() - seen[0] > patience_s:
            raise PeerLost(f"lost rank 0: it has given no sign of life for {patience_s:g} s")
    if lost:
        raise lost[0]


def _end(code: int) -> None:
    """End this process when all of Python's own is done, and before libraries clean up."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _device(local_rank: int, share_gpus: bool = False) -> torch.device:
    if not torch.cuda.is_available():
        return torch.device("cpu")
    devices = torch.cuda.device_count()
    if local_rank >= devices and not share_gpus:
        raise UserError(
            f"local rank {local_rank} needs a CUDA device of its own, and this machine has {devices}; "
            "start fewer processes here, or have them share one (--share-gpus)"
        )
    return torch.device("cuda", local_rank % devices)


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0][:200] if text.strip() else "no more is known"
