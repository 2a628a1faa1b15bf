"""What one optimiser step came to."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """One optimiser step, the same on every rank.

    Attributes:
        number: from 1.
        loss: of the whole step, the sum of `losses`.
        losses: of every logical shard, in order, each divided by the step's total weight.
        lr: the learning rate that it was made with.
        gradient_norm: of the whole gradient before clipping.
        samples: texts or blocks of all ranks.
        tokens: of all ranks, padding not counted.
    """

    number: int
    loss: float
    losses: tuple[float, ...]
    lr: float
    gradient_norm: float
    samples: int
    tokens: int
