"""How ranks hand gradients and weights to each other. Collectives only move bytes here.

Every sum is taken by the rank that owns a slice, along the canonical tree, so the result depends
neither on the algorithm of a collective nor on the network.
"""

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from retort.train.engines.contract.layout import Bucket
from retort.train.engines.contract.tree import Node, plan_range, share_of, tree_sum


class GradientExchange:
    """Brings the slices of every rank's subtree roots to their owner and adds them up."""

    def __init__(
        self,
        rank: int,
        world_size: int,
        shards: int,
        buckets: Sequence[Bucket],
        device: torch.device,
    ) -> None:
        self._rank, self._world_size, self._shards = rank, world_size, shards
        self._buckets = buckets
        self._roots = [
            plan_range(share_of(other, world_size, shards), shards).roots
            for other in range(world_size)
        ]
        self._rounds = max(len(roots) for roots in self._roots)
        self._pending: dict[int, list[tuple[dist.Work, Tensor]]] = {}
        lengths = [len(bucket.slice_of(rank, world_size)) for bucket in buckets]
        received = sum(len(roots) for roots in self._roots) if world_size > 1 else 0
        self._received = [torch.empty(received * length, device=device) for length in lengths]

    def send(self, number: int, roots: Sequence[Tensor]) -> None:
        """Begin to send the roots of a bucket; round n carries the n-th root of every rank."""
        if self._world_size == 1:
            return
        bucket = self._buckets[number]
        length = len(bucket.slice_of(self._rank, self._world_size))
        place = 0
        works = []
        for turn in range(self._rounds):
            senders = [len(nodes) > turn for nodes in self._roots]
            given = roots[0][:0]
            if len(roots) > turn:
                given = roots[turn][bucket.start : bucket.end]
            taken = self._received[number][place : place + sum(senders) * length]
            place += len(taken)
            work = dist.all_to_all_single(
                taken,
                given,
                [length * sends for sends in senders],
                [len(given) // self._world_size] * self._world_size,
                async_op=True,
            )
            assert work is not None
            works.append((work, taken))
        self._pending[number] = works

    def slice_of_sum(self, number: int, roots: Sequence[Tensor]) -> Tensor:
        """This rank's slice of the sum over all shards, once it has arrived: float32, 1-d."""
        bucket = self._buckets[number]
        if self._world_size == 1:
            return roots[0][bucket.start : bucket.end]
        length = len(bucket.slice_of(self._rank, self._world_size))
        nodes: list[tuple[Node, Tensor]] = []
        for turn, (work, taken) in enumerate(self._pending.pop(number)):
            work.wait()
            senders = [found[turn] for found in self._roots if len(found) > turn]
            nodes += zip(senders, taken.view(-1, length), strict=True)
        return tree_sum(nodes, self._shards, torch.Tensor.add_)


def begin_gathering(
    weights: Tensor, buckets: Sequence[Bucket], rank: int, world_size: int
) -> list[dist.Work]:
    """Begin to fill the flat weights with every rank's slices.

    Each slice goes from where it is straight to where it belongs: gloo's own all-gather copies
    twice on the way.
    """
    transfers = []
    for bucket in buckets:
        for peer in range(world_size):
            if peer == rank:
                continue
            for owner, transfer in ((rank, dist.isend), (peer, dist.irecv)):
                run = bucket.slice_of(owner, world_size)
                transfers.append(dist.P2POp(transfer, weights[run.start : run.stop], peer))
    return dist.batch_isend_irecv(transfers) if transfers else []


def gathered(values: Tensor, world_size: int) -> Tensor:
    """The vectors of all ranks, each as long: [world_size, length]."""
    if world_size == 1:
        return values[None]
    rows = values.new_empty(world_size, len(values))
    dist.all_gather_single(rows.view(-1), values)
    return rows
