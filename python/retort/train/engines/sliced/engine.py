"""The engine of the contract whose ranks hold slices of the weights, too: the same bits, less memory, more traffic."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from retort.models.arithmetic import Portable
from retort.models.packed.passes import Pass, Places
from retort.models.parameters import ParameterGroup
from retort.train.engines.contract.agreement import agreed
from retort.train.engines.contract.layout import FlatLayout
from retort.train.engines.contract.settings import ContractSettings
from retort.train.engines.contract.sliced_adamw import SlicedAdamW
from retort.train.engines.contract.tree import Node, share_of
from retort.train.engines.engine import (
    File,
    Loss,
    MicroBatch,
    Outcome,
    TensorSlice,
    untrained,
)
from retort.train.engines.sliced.weights import SlicedWeights
from retort.train.processes.world import World
from retort.train.timing.phases import PhaseClock


class SlicedEngine:
    """Trains a model that no rank holds as a whole; see `retort.train.engines.engine.Engine`.

    All ranks call every method, and the model, as often as each other.
    """

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
    ) -> None:
        """
        Args:
            model: portable; its trainable parameters are float32, and are empty then.
            groups: of all trainable parameters.
            settings: of shards that are a multiple of the ranks.
        """
        self.model = model
        self._settings, self._world, self._clock = settings, world, clock
        self._micro_batch, self._loss = micro_batch, loss
        self._share = share_of(world.rank, world.size, settings.shards)
        # Backward reaches the last ones first.
        named = [(name, one) for name, one in model.named_parameters() if one.requires_grad]
        self._parameters = dict(reversed(named))
        sizes = {name: one.numel() for name, one in self._parameters.items()}
        self._layout = FlatLayout.of(sizes, settings.block)
        buckets = self._layout.buckets(world.size, settings.block * world.size)
        self._weights = SlicedWeights(
            self._parameters,
            self._layout,
            buckets,
            rank=world.rank,
            world_size=world.size,
            shards=settings.shards,
            clock=clock,
        )
        portable: Portable[Any] = model.portable  # type: ignore[assignment]
        portable.weights = self._weights.of
        self._portable = portable
        self._adamw = SlicedAdamW(
            self._weights.slices,
            self._layout,
            [bucket.slice_of(world.rank, world.size) for bucket in buckets],
            groups,
            betas=settings.betas,
            eps=settings.eps,
            portable=True,
        )

    def step(self, number: int, lr: float) -> Outcome:
        """Run this rank's shards and update its slices."""
        self._weights.begin_step()
        losses = [self._run(number, place) for place in range(len(self._share))]
        gradients = self._weights.sums()
        outcome = agreed(
            *(gradients, torch.stack(losses), self._layout.blocks),
            settings=self._settings,
            world=self._world,
            portable=True,
            clock=self._clock,
        )
        limit = self._settings.max_grad_norm
        self._adamw.step(gradients, lr, max(1.0, outcome.gradient_norm / limit))
        self._weights.changed()
        return outcome

    def slices(self) -> Iterator[TensorSlice]:
        """Weights and moments of this rank's slices; what is not trained comes from rank 0."""
        yield from self._adamw.slices()
        if self._world.rank == 0:
            for name, values in untrained(self.model).items():
                yield TensorSlice("model", name, 0, values.detach().reshape(-1))

    def restore(self, read: Callable[[File, str], Tensor], step: int) -> None:
        """Take over weights and moments; each rank keeps its slices."""
        for name in self._parameters:
            self._adamw.fill(name, read("model", name))
            moments = [read("optimizer", f"{one}.{name}") for one in ("exp_avg", "exp_avg_sq")]
            self._adamw.restore(name, moments[0], moments[1], step)
        with torch.no_grad():
            for name, values in untrained(self.model).items():
                values.copy_(read("model", name))
        self._weights.changed()

    def _run(self, number: int, place: int) -> Tensor:
        """The loss of a shard of this rank, while the others compute theirs."""
        size, shards = self._world.size, self._settings.shards
        nodes = [Node(0, share_of(rank, size, shards)[place]) for rank in range(size)]
        shard = self._share[place]
        with self._clock.phase("data"):
            batch = self._micro_batch(number, shard)
        places = Places(self._settings.seed, number, range(shard, shard + 1))
        self._portable.training = Pass(places, rounded=self._settings.autocast)
        with self._weights.leaf(nodes):
            losses = self._loss(self.model, batch, number)
            torch.autograd.backward(losses[0])
        return losses[0].detach()
