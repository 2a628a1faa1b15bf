"""Bytes that ranks really send, counted at the collectives: the check on the formulas.

python -m benchmarks.scale.counted --world-size 2 --shards 8 --weights 1000000
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, distributed
from torch.multiprocessing.spawn import start_processes

from retort.train.engines.contract.exchange import GradientExchange, roots_of_all
from retort.train.engines.contract.layout import FlatLayout

_STEPS = 5


@dataclass(frozen=True)
class Counted:
    """What a rank sent in a step, in bytes and messages to others that are not empty, and the median of seconds."""

    sent: int
    messages: int
    seconds: float


def count(world_size: int, shards: int, weights: int) -> list[Counted]:
    """Of each rank, the exchange of a step by processes of this machine.

    Call it in a process that has no threads yet, as they are forked from it.
    """
    with tempfile.TemporaryDirectory() as scratch:
        arguments = (world_size, shards, weights, Path(scratch))
        start_processes(  # type: ignore[no-untyped-call]
            _rank, arguments, nprocs=world_size, start_method="fork"
        )
        files = [Path(scratch) / f"{rank}.json" for rank in range(world_size)]
        return [Counted(**json.loads(file.read_text(encoding="utf-8"))) for file in files]


def _rank(rank: int, size: int, shards: int, weights: int, scratch: Path) -> None:
    distributed.init_process_group(
        "gloo", init_method=f"file://{scratch}/meeting", rank=rank, world_size=size
    )
    buckets = FlatLayout.of({"all": weights}).buckets(size, 4 << 20)
    exchange = GradientExchange(rank, size, shards, buckets, torch.device("cpu"))
    length = buckets[-1].end
    roots = [torch.ones(length) for _ in roots_of_all(size, shards)[rank]]
    flat, sent, taken = torch.zeros(length), [0, 0], []

    def note(tensor: Tensor) -> None:
        sent[0] += tensor.nbytes
        sent[1] += tensor.numel() > 0

    to_all, to_one = distributed.all_to_all_single, distributed.batch_isend_irecv

    def all_to_all(out: Tensor, given: Tensor, *others: Any, **named: Any) -> Any:
        parts = torch.split(given, others[1])
        for peer, part in enumerate(parts):
            if peer != rank:
                note(part)
        return to_all(out, given, *others, **named)

    def one_to_one(operations: list[Any]) -> Any:
        for one in operations:
            if one.op is distributed.isend:
                note(one.tensor)
        return to_one(operations)

    with (
        mock.patch.object(distributed, "all_to_all_single", all_to_all),
        mock.patch.object(distributed, "batch_isend_irecv", one_to_one),
    ):
        for _ in range(_STEPS):
            distributed.barrier()
            begun, sent[:] = time.perf_counter(), [0, 0]
            for number in range(len(buckets)):
                exchange.send(number, roots)
            for number in range(len(buckets)):
                exchange.slice_of_sum(number, roots)
            exchange.gather(flat)
            distributed.barrier()
            taken.append(time.perf_counter() - begun)
    counted = Counted(sent[0], sent[1], sorted(taken)[_STEPS // 2])
    (scratch / f"{rank}.json").write_text(json.dumps(asdict(counted)), encoding="utf-8")
    distributed.destroy_process_group()


def main(typed: Sequence[str]) -> None:
    """One line of JSON: a list of all ranks' figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("--world-size", "--shards", "--weights"):
        parser.add_argument(name, type=int, required=True)
    options = parser.parse_args(typed)
    found = count(options.world_size, options.shards, options.weights)
    print(json.dumps([asdict(one) for one in found]))


if __name__ == "__main__":
    main(sys.argv[1:])
