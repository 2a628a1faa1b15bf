"""How a forward pass is made: where in a run it is, of which logical shards, and how precise."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from torch import Tensor

from retort.kernels.elementwise import Dropout, dropout_at, dropped
from retort.kernels.products import Packed
from retort.kernels.quantized import PackedQuantized

Fixed: TypeAlias = Packed | PackedQuantized
"""The weight of a linear layer that never changes again, as products read it."""


@dataclass(frozen=True)
class Places:
    """Where in a run a forward pass is, which decides what dropout drops, and along which tree gradients are added.

    Attributes:
        seed, step: of the run; with shard, layer and name they are a place (see `dropout_at`).
        shards: the logical shards that are computed.
        sequences: where those of each shard begin and the last end, int64 [shards + 1]; None of one shard.
    """

    seed: int
    step: int
    shards: range
    sequences: Tensor | None = None

    def dropouts(self, probability: float, layer: int, name: str) -> tuple[Dropout, ...]:
        """The dropout of a place in the model, of each shard."""
        return tuple(
            dropout_at(probability, self.seed, self.step, shard, layer, name)
            for shard in self.shards
        )


@dataclass(frozen=True)
class Pass:
    """How a forward pass is made.

    Attributes:
        places: where in training it is, by which dropout drops; without them nothing is dropped.
        rounded: whether the factors of the products of layers are, to bfloat16. All else is float32.
        shards: where the rows of each logical shard begin and the last end, int64 [shards + 1]; None of one shard.
        fixed: linear layers, by name, whose weights are these, and not among those of the model.
    """

    places: Places | None = None
    rounded: bool = False
    shards: Tensor | None = None
    fixed: Mapping[str, Fixed] = field(default_factory=dict)

    def of_parts(self, first: Tensor) -> "Pass":
        """The same where what were sequences are several.

        Args:
            first: which of the new ones each begins with and the last ends before, int64 [sequences + 1].
        """
        if self.places is None or self.places.sequences is None:
            return self
        places = replace(self.places, sequences=first[self.places.sequences])
        return replace(self, places=places)

    def of_tokens(self, offsets: Tensor) -> "Pass":
        """The same where a row is a token.

        Args:
            offsets: as of `Sequences`.
        """
        sequences = self.places.sequences if self.places else None
        return replace(self, shards=None if sequences is None else offsets[sequences])

    def of_sequences(self) -> "Pass":
        """The same where a row is a sequence, and nothing is rounded."""
        sequences = self.places.sequences if self.places else None
        return replace(self, rounded=False, shards=sequences)


EXACT = Pass()


def dropped_at(x: Tensor, probability: float, how: Pass, layer: int, name: str) -> Tensor:
    """With dropout in training, which is where there are places; otherwise as it is."""
    if how.places is None or probability == 0:
        return x
    return dropped(x, how.places.dropouts(probability, layer, name), how.shards)
