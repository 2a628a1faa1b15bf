"""How ranks hand gradients and weights to each other: through memory on one machine, otherwise by collectives.

Both only move bytes. Every sum is taken by the rank that owns a slice, along the canonical tree, so the result depends
neither on the algorithm of a collective nor on the network.
"""

from collections.abc import Sequence
from typing import Protocol

import torch
import torch.distributed as dist
from torch import Tensor

from retort.train.engines.contract.layout import Bucket
from retort.train.engines.contract.tree import Node, plan_range, share_of, tree_sum


class Exchange(Protocol):
    """Brings the slices of every rank's subtree roots to their owner, who adds them up, and the owner's weights back.

    All ranks call it in the same order.
    """

    def send(self, number: int, roots: Sequence[Tensor]) -> None:
        """Begin to send the roots of a bucket, which do not change before the weights are gathered."""

    def slice_of_sum(self, number: int, roots: Sequence[Tensor]) -> Tensor:
        """This rank's slice of the sum over all shards, once it has arrived: float32, 1-d."""

    def gather(self, weights: Tensor) -> None:
        """Have every rank's slices in the flat weights of all."""

    def meet(self) -> None:
        """Wait for all ranks, if what one writes into its weights is in those of the others."""


def roots_of_all(world_size: int, shards: int) -> list[tuple[Node, ...]]:
    """The subtree roots that each rank comes to."""
    return [
        plan_range(share_of(one, world_size, shards), shards).roots for one in range(world_size)
    ]


class SharedExchange:
    """The exchange of ranks that map each other's roots, and have their weights in one place.

    Collectives tell no more than that something is there. Nobody changes weights before all have sent their last
    gradients, for which nobody reads weights any more.
    """

    def __init__(
        self, rank: int, shards: int, buckets: Sequence[Bucket], vectors: Sequence[Sequence[Tensor]]
    ) -> None:
        """
        Args:
            vectors: of each rank its roots, mapped by all; see `shared_vectors`.
        """
        self._rank, self._world_size, self._shards = rank, len(vectors), shards
        self._buckets, self._vectors = buckets, vectors
        self._roots = roots_of_all(self._world_size, shards)
        self._there: dict[int, tuple[dist.Work, Tensor]] = {}

    def send(self, number: int, roots: Sequence[Tensor]) -> None:
        """As `Exchange.send`."""
        self._there[number] = _all_are_here()

    def slice_of_sum(self, number: int, roots: Sequence[Tensor]) -> Tensor:
        """As `Exchange.slice_of_sum`; the sum may lie in this rank's own root."""
        work, _ = self._there.pop(number)
        work.wait()
        run = self._buckets[number].slice_of(self._rank, self._world_size)
        nodes = [
            (node, (vector[run.start : run.stop], rank == self._rank))
            for rank, found in enumerate(self._roots)
            for node, vector in zip(found, self._vectors[rank], strict=True)
        ]
        total, _ = tree_sum(nodes, self._shards, _added)
        return total

    def gather(self, weights: Tensor) -> None:
        """As `Exchange.gather`: they are where they belong once all have made theirs."""
        self.meet()

    def meet(self) -> None:
        """As `Exchange.meet`."""
        work, _ = _all_are_here()
        work.wait()


def _all_are_here() -> tuple[dist.Work, Tensor]:
    """What is done when all ranks have begun it, and what must live as long."""
    nothing = torch.zeros(1)
    work = dist.all_reduce(nothing, async_op=True)
    assert work is not None
    return work, nothing


def _added(left: tuple[Tensor, bool], right: tuple[Tensor, bool]) -> tuple[Tensor, bool]:
    """The sum, in memory of this rank's own if one of both is: that of others is theirs. Addition commutes."""
    (one, is_own), (other, _) = (left, right) if left[1] else (right, left)
    return (one.add_(other) if is_own else one + other), True


class GradientExchange:
    """The exchange of ranks that may be on several machines, or of one alone."""

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
        self._roots = roots_of_all(world_size, shards)
        self._rounds = max(len(roots) for roots in self._roots)
        self._pending: dict[int, list[tuple[dist.Work, Tensor]]] = {}
        lengths = [len(bucket.slice_of(rank, world_size)) for bucket in buckets]
        received = sum(len(roots) for roots in self._roots) if world_size > 1 else 0
        self._received = [torch.empty(received * length, device=device) for length in lengths]

    def send(self, number: int, roots: Sequence[Tensor]) -> None:
        """As `Exchange.send`; round n carries the n-th root of every rank."""
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
        """As `Exchange.slice_of_sum`."""
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

    def gather(self, weights: Tensor) -> None:
        """As `Exchange.gather`.

        Each slice goes from where it is straight to where it belongs: gloo's own all-gather copies
        twice on the way.
        """
        transfers = []
        for bucket in self._buckets:
            for peer in range(self._world_size):
                if peer == self._rank:
                    continue
                for owner, transfer in ((self._rank, dist.isend), (peer, dist.irecv)):
                    run = bucket.slice_of(owner, self._world_size)
                    transfers.append(dist.P2POp(transfer, weights[run.start : run.stop], peer))
        for work in dist.batch_isend_irecv(transfers) if transfers else []:
            work.wait()

    def meet(self) -> None:
        """As `Exchange.meet`: each rank has weights of its own."""


class StagedExchange:
    """The exchange of ranks that may share a GPU: through the machine's memory, as NCCL serves no two on one device."""

    def __init__(
        self, rank: int, world_size: int, shards: int, buckets: Sequence[Bucket], roots: int
    ) -> None:
        """
        Args:
            roots: how many this rank has.
        """
        self._buckets = buckets
        self._inner = GradientExchange(rank, world_size, shards, buckets, torch.device("cpu"))
        self._roots = [torch.empty(buckets[-1].end) for _ in range(roots)]

    def send(self, number: int, roots: Sequence[Tensor]) -> None:
        """As `Exchange.send`; waits until backward has come here."""
        run = slice(self._buckets[number].start, self._buckets[number].end)
        for staged, root in zip(self._roots, roots, strict=True):
            staged[run].copy_(root[run])
        self._inner.send(number, self._roots)

    def slice_of_sum(self, number: int, roots: Sequence[Tensor]) -> Tensor:
        """As `Exchange.slice_of_sum`; additions are the CPU's, which are rounded as a GPU's are."""
        return self._inner.slice_of_sum(number, self._roots).to(roots[0].device)

    def gather(self, weights: Tensor) -> None:
        """As `Exchange.gather`."""
        staged = weights.cpu()
        self._inner.gather(staged)
        weights.copy_(staged)

    def meet(self) -> None:
        """As `Exchange.meet`: each rank has weights of its own."""


def gathered(values: Tensor, world_size: int) -> Tensor:
    """The vectors of all ranks, each as long: [world_size, length]."""
    if world_size == 1:
        return values[None]
    rows = values.new_empty(world_size, len(values))
    dist.all_gather_single(rows.view(-1), values)
    return rows
