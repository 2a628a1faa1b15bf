"""Weights of which each rank holds a slice, and gradients of which it keeps one.

A weight is whole on a rank only while an operation needs it: ranks gather the buckets that it lies in before, and let
go of it after, in the forward pass as in the backward pass, which gathers again what autograd would have kept.
Gradients leave for the owners of their slices as soon as a bucket is complete. So ranks must come by the same weights
in the same order. ZeRO stage 3 (Rajbhandari and others, 2020) and FSDP (Zhao and others, 2023) do so; here owners add
along the canonical tree.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef

from retort.train.engines.contract.layout import Bucket, FlatLayout
from retort.train.engines.contract.tree import Node, rise
from retort.train.timing.phases import PhaseClock

_AT_HAND = 2
"""Buckets that stay whole after they were gathered: neighbours in the layout are often used one after the other."""


class SlicedWeights:
    """The trainable weights of a model, shared out.

    Attributes:
        slices: this rank's of each bucket, float32, 1-d.
        gathered: bytes that this rank has had from others.
    """

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        layout: FlatLayout,
        buckets: Sequence[Bucket],
        *,
        rank: int,
        world_size: int,
        shards: int,
        clock: PhaseClock,
    ) -> None:
        """
        Args:
            parameters: by name, float32, on the CPU; what they hold is taken over, and they are empty then.
            shards: of a step.
        """
        self._rank, self._world_size, self._shards = rank, world_size, shards
        self._buckets, self._clock = buckets, clock
        self._slots = {slot.name: slot for slot in layout.slots}
        self._shapes = {name: one.shape for name, one in parameters.items()}
        self._names = {id(one): name for name, one in parameters.items()}
        self._in_bucket = [
            [slot for slot in layout.slots if slot.start < bucket.end and bucket.start < slot.end]
            for bucket in buckets
        ]
        self.slices = [self._slice_of(bucket, parameters) for bucket in buckets]
        self.gathered = 0
        for one in parameters.values():
            one.data = one.data.new_empty(0)
        self._whole: OrderedDict[int, Tensor] = OrderedDict()
        self._lent: dict[int, tuple[StorageWeakRef, str]] = {}
        self._nodes: list[Node] = []
        self._waiting: set[int] = set()
        self._partial: dict[int, tuple[Tensor, set[str]]] = {}
        self._sums: list[dict[Node, Tensor]] = []
        # Autograd comes by what depends on something that has a gradient.
        self._anchor = torch.zeros(1, requires_grad=True)

    def of(self, part: nn.Module) -> Mapping[str, Tensor]:
        """The weights of a part of the model by their names there, each gathered when it is asked for."""
        return _Gathering(self, dict(part.named_parameters()))

    def changed(self) -> None:
        """Forget what was gathered: the slices have other values now."""
        self._whole.clear()

    def begin_step(self) -> None:
        """Expect the gradients of all shards."""
        self._sums = [{} for _ in self._buckets]

    @contextmanager
    def leaf(self, nodes: Sequence[Node]) -> Iterator[None]:
        """While this is open, every rank computes the shards of a node, and their gradients.

        Args:
            nodes: of each rank.
        """
        self._nodes, self._waiting = list(nodes), set(range(len(self._buckets)))
        # What autograd keeps of weights are their names.
        with torch.autograd.graph.saved_tensors_hooks(self._kept, self._brought_back):
            yield
        # What backward did not reach is zero.
        for bucket in sorted(self._waiting):
            self._arrived(bucket, {slot.name for slot in self._in_bucket[bucket]})

    def sums(self) -> list[Tensor]:
        """This rank's slice of the sum over all shards, of each bucket; asked for once a step."""
        found = [root for nodes in self._sums for root in nodes.values()]
        assert len(found) == len(self._buckets)
        self._sums = []
        return found

    def lend(self, parameter: nn.Parameter) -> Tensor:
        """A weight, whole, whose gradient comes back here; one that is not trained as it is."""
        name = self._names.get(id(parameter))
        if name is None:
            return parameter
        lent: Tensor = _Lent.apply(self._anchor, self, name)  # type: ignore[no-untyped-call]
        storage = lent.untyped_storage()
        self._lent[storage.data_ptr()] = (StorageWeakRef(storage), name)  # type: ignore[no-untyped-call]
        return lent

    def gather(self, name: str) -> Tensor:
        """A weight, whole."""
        slot = self._slots[name]
        whole = torch.empty(slot.size)
        for bucket, run in enumerate(self._buckets):
            start, end = max(slot.start, run.start), min(slot.end, run.end)
            if start < end:
                values = self._bucket(bucket)[start - run.start : end - run.start]
                whole[start - slot.start : end - slot.start] = values
        return whole.view(self._shapes[name])

    def give(self, name: str, gradient: Tensor) -> None:
        """Lay a weight's gradient where those of its buckets are, and send what is complete."""
        slot, flat = self._slots[name], gradient.reshape(-1)
        for bucket, run in enumerate(self._buckets):
            start, end = max(slot.start, run.start), min(slot.end, run.end)
            if start < end:
                into = self._gradient_of(bucket)
                into[start - run.start : end - run.start] = flat[
                    start - slot.start : end - slot.start
                ]
                self._arrived(bucket, {name})

    def _slice_of(self, bucket: Bucket, parameters: Mapping[str, nn.Parameter]) -> Tensor:
        owned = bucket.slice_of(self._rank, self._world_size)
        found = torch.zeros(len(owned))
        for slot in self._slots.values():
            start, end = max(slot.start, owned.start), min(slot.end, owned.stop)
            if start < end:
                flat = parameters[slot.name].detach().reshape(-1)
                part = flat[start - slot.start : end - slot.start]
                found[start - owned.start : end - owned.start] = part
        return found

    def _bucket(self, number: int) -> Tensor:
        if number not in self._whole:
            own = self.slices[number]
            with self._clock.phase("communication"):
                whole = own
                if self._world_size > 1:
                    whole = own.new_empty(len(own) * self._world_size)
                    dist.all_gather_single(whole, own)
            self.gathered += whole.nbytes - own.nbytes
            self._whole[number] = whole
            while len(self._whole) > _AT_HAND:
                self._whole.popitem(last=False)
        self._whole.move_to_end(number)
        return self._whole[number]

    def _gradient_of(self, bucket: int) -> Tensor:
        if bucket not in self._partial:
            run = self._buckets[bucket]
            self._partial[bucket] = (torch.zeros(run.end - run.start), set())
        return self._partial[bucket][0]

    def _arrived(self, bucket: int, names: set[str]) -> None:
        """Note whose gradients are there; when they all are, owners get their slices, and add what has a neighbour."""
        gradient = self._gradient_of(bucket)
        there = self._partial[bucket][1]
        there |= names
        if len(there) < len(self._in_bucket[bucket]):
            return
        del self._partial[bucket]
        self._waiting.remove(bucket)
        taken = gradient
        if self._world_size > 1:
            taken = torch.empty_like(gradient)
            with self._clock.phase("communication"):
                dist.all_to_all_single(taken, gradient)
        for node, values in zip(self._nodes, taken.view(self._world_size, -1), strict=True):
            # Not a view, which would keep the slices of all others.
            rise(self._sums[bucket], node, values.clone(), self._shards, torch.Tensor.add_)

    def _kept(self, tensor: Tensor) -> "Tensor | _Place":
        storage, name = self._lent.get(tensor.untyped_storage().data_ptr(), (None, ""))
        # Where a weight was, another tensor may be by now.
        if storage is None or storage.expired():  # type: ignore[no-untyped-call]
            return tensor
        return _Place(name, tensor.shape, tensor.stride(), int(tensor.storage_offset()))

    def _brought_back(self, kept: "Tensor | _Place") -> Tensor:
        if isinstance(kept, Tensor):
            return kept
        return self.gather(kept.name).as_strided(kept.shape, kept.stride, kept.offset)


@dataclass(frozen=True)
class _Place:
    """What stands for a weight, or a view of one, while autograd keeps it."""

    name: str
    shape: torch.Size
    stride: tuple[int, ...]
    offset: int


class _Lent(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, anchor: Tensor, held: SlicedWeights, name: str) -> Tensor:
        ctx.held, ctx.name = held, name
        return held.gather(name)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, None, None]:
        ctx.held.give(ctx.name, gradient)
        return None, None, None


class _Gathering(Mapping[str, Tensor]):
    def __init__(self, held: SlicedWeights, parameters: Mapping[str, nn.Parameter]) -> None:
        self._held, self._parameters = held, parameters

    def __getitem__(self, name: str) -> Tensor:
        return self._held.lend(self._parameters[name])

    def __contains__(self, name: object) -> bool:
        return name in self._parameters

    def __iter__(self) -> Iterator[str]:
        return iter(self._parameters)

    def __len__(self) -> int:
        return len(self._parameters)
