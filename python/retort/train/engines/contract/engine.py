"""The contract's engine: the same weights, bit for bit, for every number of ranks.

A step's batch is cut into logical shards, each run by itself in a shape and with a seed that depend
on step and shard alone. Gradients are added along the canonical tree; the rank that owns a slice of
the parameters finishes the sum, clips and updates it, and hands the new weights to all others.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from retort.kernels.destinations import made_in
from retort.kernels.products import PackedWeights
from retort.kernels.tensors import MOST_SHARDS
from retort.models.arithmetic import Portable
from retort.models.determinism import seed_from
from retort.models.packed.passes import Pass, Places
from retort.models.parameters import ParameterGroup
from retort.train.engines.contract.agreement import agreed
from retort.train.engines.contract.exchange import (
    Exchange,
    GradientExchange,
    SharedExchange,
    StagedExchange,
    roots_of_all,
)
from retort.train.engines.contract.gradients import GradientTree
from retort.train.engines.contract.layout import FlatLayout
from retort.train.engines.contract.settings import ContractSettings
from retort.train.engines.contract.shared_vectors import shared_vectors
from retort.train.engines.contract.sliced_adamw import SlicedAdamW
from retort.train.engines.contract.tree import (
    Node,
    cut,
    plan_nodes,
    plan_range,
    share_of,
)
from retort.train.engines.engine import (
    File,
    Joined,
    Loss,
    MicroBatch,
    Outcome,
    TensorSlice,
    untrained,
)
from retort.train.processes.world import World
from retort.train.timing.phases import PhaseClock


class ContractEngine:
    """Trains a model by logical shards; see `retort.train.engines.engine.Engine`."""

    def __init__(
        self,
        model: nn.Module,
        groups: Sequence[ParameterGroup],
        settings: ContractSettings,
        *,
        world: World,
        micro_batch: MicroBatch,
        loss: Loss,
        clock: PhaseClock,
        joined: Joined | None = None,
    ) -> None:
        """
        Args:
            model: on the world's device; its trainable parameters are float32 and become views. Where it is
                portable, so is all that is computed here.
            groups: of all trainable parameters.
            joined: without it, shards are computed one after the other.
        """
        self.model = model
        self._portable: Portable[Any] | None = getattr(model, "portable", None)
        self._settings, self._world, self._clock = settings, world, clock
        self._micro_batch, self._loss = micro_batch, loss
        self._together = self._portable is not None and self._portable.together
        self._joined = joined if self._together else None
        self._share = share_of(world.rank, world.size, settings.shards)

        # Backward reaches the last ones first.
        named = [(name, one) for name, one in model.named_parameters() if one.requires_grad]
        self._parameters = dict(reversed(named))
        sizes = {name: one.numel() for name, one in self._parameters.items()}
        self._layout = FlatLayout.of(sizes, settings.block)
        self._buckets = self._layout.buckets(world.size, settings.bucket)
        self._roots = plan_range(self._share, settings.shards).roots
        self._exchange, (self._weights, *roots) = self._open_exchange(len(self._roots))
        self._flatten()
        self._packed = PackedWeights(model.parameters())
        self._gradients = GradientTree(
            self._parameters,
            self._layout,
            self._buckets,
            roots=roots,
            on_ready=self._send,
        )
        slices = [bucket.slice_of(world.rank, world.size) for bucket in self._buckets]
        self._adamw = SlicedAdamW(
            [self._weights[owned.start : owned.stop] for owned in slices],
            self._layout,
            slices,
            groups,
            betas=settings.betas,
            eps=settings.eps,
            portable=self._portable is not None,
        )

    def step(self, number: int, lr: float) -> Outcome:
        """Run this rank's shards and update the weights on all ranks."""
        self._ready, self._next = set[int](), 0
        losses: list[Tensor] = []
        parts = self._parts(number)
        self._gradients.start(plan_nodes([node for node, _ in parts], self._settings.shards))
        with self._packed.unchanged() if len(parts) > 1 else nullcontext():
            for place, (node, batch) in enumerate(parts):
                losses.append(self._run(number, node, batch, place))
        with self._clock.phase("communication"):
            gradients = [
                self._exchange.slice_of_sum(number, self._gradients.roots)
                for number in range(len(self._buckets))
            ]
        outcome = agreed(
            *(gradients, torch.cat(losses), self._layout.blocks),
            settings=self._settings,
            world=self._world,
            portable=self._portable is not None,
            clock=self._clock,
        )
        limit = self._settings.max_grad_norm
        self._adamw.step(gradients, lr, max(1.0, outcome.gradient_norm / limit))
        with self._clock.phase("communication"):
            self._exchange.gather(self._weights)
        return outcome

    def slices(self) -> Iterator[TensorSlice]:
        """Weights and moments of this rank's slices; what is not trained comes from rank 0."""
        yield from self._adamw.slices()
        if self._world.rank == 0:
            for name, values in untrained(self.model).items():
                yield TensorSlice("model", name, 0, values.detach().reshape(-1))

    def restore(self, read: Callable[[File, str], Tensor], step: int) -> None:
        """Take over weights and moments; each rank keeps the moments of its slices."""
        with self._alone_with_weights(), torch.no_grad():
            for name, parameter in self._parameters.items():
                parameter.copy_(read("model", name))
                moments = [read("optimizer", f"{one}.{name}") for one in ("exp_avg", "exp_avg_sq")]
                self._adamw.restore(name, moments[0], moments[1], step)
            for name, values in untrained(self.model).items():
                values.copy_(read("model", name))

    def _parts(self, number: int) -> list[tuple[Node, Any]]:
        """What this rank computes at once in a step: subtrees of shards and their batches."""
        shards, most = self._settings.shards, self._settings.at_once
        with self._clock.phase("data"):
            batches = {shard: self._micro_batch(number, shard) for shard in self._share}
            if self._joined is None:
                return [(Node(0, shard), batch) for shard, batch in batches.items()]
            # A shard weighs at least as much as lets no more be added up at once than can be.
            sizes = {
                shard: max(batch.tokens, -(-most // MOST_SHARDS))
                for shard, batch in batches.items()
            }
            return [
                (node, self._joined([batches[shard] for shard in node.of(shards)]))
                for node in cut(self._roots, sizes, most, shards)
            ]

    def _run(self, number: int, node: Node, batch: Any, place: int) -> Tensor:
        """The losses of the shards of a node, 1-d."""
        self._gradients.begin(place)
        with self._pass(number, node.of(self._settings.shards), batch):
            losses = self._loss(self.model, batch, number)
        with made_in(self._gradients.destinations()) if self._together else nullcontext():
            torch.autograd.backward(losses, torch.ones_like(losses))
        self._gradients.end()
        return losses.detach()

    def _pass(self, number: int, shards: range, batch: Any) -> AbstractContextManager[object]:
        """Have a forward pass drop and round as it is to in shards of a step."""
        settings = self._settings
        if self._portable is not None:
            sequences = torch.from_numpy(batch.shards) if len(shards) > 1 else None
            places = Places(settings.seed, number, shards, sequences)
            self._portable.training = Pass(places, rounded=settings.autocast)
            return nullcontext()
        (shard,) = shards
        torch.manual_seed(seed_from(settings.seed, "dropout", number, shard))
        if settings.autocast:
            return torch.autocast(self._world.device.type, torch.bfloat16)
        return nullcontext()

    def _send(self, bucket: int) -> None:
        """Send a bucket, but never before the ones before it: ranks must agree on the order."""
        self._ready.add(bucket)
        while self._next in self._ready:
            self._exchange.send(self._next, self._gradients.roots)
            self._next += 1

    def _open_exchange(self, roots: int) -> tuple[Exchange, list[Tensor]]:
        """How this rank trades with others, and its flat vectors, zero: the weights, and so many roots."""
        world, shards, length = self._world, self._settings.shards, self._buckets[-1].end
        if world.size > 1 and world.device.type == "cpu":
            counts = [len(found) for found in roots_of_all(world.size, shards)]
            with world.together("while the ranks were sharing memory"):
                # The first has the weights of all, too.
                vectors = shared_vectors([1 + counts[0], *counts[1:]], length, world.rank)
            if vectors is not None:
                weights = vectors[0].pop(0)
                exchange = SharedExchange(world.rank, shards, self._buckets, vectors)
                return exchange, [weights, *vectors[world.rank]]
        by_collectives: Exchange
        if world.size > 1 and world.shares_gpus:
            by_collectives = StagedExchange(world.rank, world.size, shards, self._buckets, roots)
        else:
            by_collectives = GradientExchange(
                world.rank, world.size, shards, self._buckets, world.device
            )
        return by_collectives, [torch.zeros(length, device=world.device) for _ in range(1 + roots)]

    def _flatten(self) -> None:
        """Move the trainable parameters into the flat weights; they become views of them."""
        with self._alone_with_weights():
            for slot in self._layout.slots:
                parameter = self._parameters[slot.name]
                view = self._weights[slot.start : slot.end].view_as(parameter)
                view.copy_(parameter.detach())
                parameter.data = view

    @contextmanager
    def _alone_with_weights(self) -> Iterator[None]:
        """While this is open on some rank, all ranks write the same weights, and none reads them."""
        words = "while the ranks were filling their weights"
        with self._world.together(words):
            self._exchange.meet()
        yield
        with self._world.together(words):
            self._exchange.meet()
