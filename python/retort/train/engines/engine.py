"""What turns micro-batches into new weights: the contract's own engine, or DeepSpeed."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from torch import Tensor, nn

File = Literal["model", "optimizer"]
MicroBatch = Callable[[int, int], Any]
"""Gives the micro-batch of (step from 0, shard)."""
Loss = Callable[[nn.Module, Any, int], Tensor]
"""Gives the part of each shard of a batch in the loss of a step, float32 [shards]: parts just add up."""
Joined = Callable[[Sequence[Any]], Any]
"""Gives one batch of the micro-batches of several shards (see `retort.train.tasks.task.Task`)."""


@dataclass(frozen=True)
class Outcome:
    """What a step came to.

    Attributes:
        losses: of all logical shards, in their order; their sum is the loss of the step.
        gradient_norm: of all trainable parameters together, before clipping.
    """

    losses: tuple[float, ...]
    gradient_norm: float


@dataclass(frozen=True)
class TensorSlice:
    """A run of elements of one tensor of a checkpoint, held by this rank.

    Attributes:
        name: of the tensor in its file: a parameter's, or `exp_avg.` or `exp_avg_sq.` before it.
        offset: of the first element in the flattened tensor.
        values: 1-d, on any device; what it holds changes with the next step.
    """

    file: File
    name: str
    offset: int
    values: Tensor


class Engine(Protocol):
    """Trains one model, together with the engines of all other ranks."""

    @property
    def model(self) -> nn.Module:
        """What is called to predict: the model, or what wraps it."""

    def step(self, number: int, lr: float) -> Outcome:
        """Run this rank's shards of step `number` (from 0) and update the weights on all ranks."""

    def slices(self) -> Iterator[TensorSlice]:
        """What this rank holds. The slices of all ranks are the whole state, each element once."""

    def restore(self, read: Callable[[File, str], Tensor], step: int) -> None:
        """Take over weights and moments as they were after `step` steps.

        Args:
            read: gives a whole tensor of a file by its name.
        """


def untrained(model: nn.Module) -> dict[str, Tensor]:
    """Frozen parameters and buffers that a checkpoint holds, by name."""
    held = model.state_dict(keep_vars=True)
    return {name: values for name, values in held.items() if not values.requires_grad}
