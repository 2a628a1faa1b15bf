"""What decides the bits of a step of the contract."""

from dataclasses import dataclass

from retort.train.engines.contract.layout import BLOCK


@dataclass(frozen=True)
class ContractSettings:
    """What decides the bits of a step, and how large the pieces are that travel (which does not).

    Attributes:
        shards: logical shards of a step.
        autocast: matrices are multiplied in bfloat16; weights, gradients and sums are float32.
        bucket: elements that travel together.
        at_once: tokens of shards that are computed at once, if one has not more.
        block: see `layout.BLOCK`.
    """

    seed: int
    shards: int
    autocast: bool
    betas: tuple[float, float]
    eps: float
    max_grad_norm: float
    bucket: int = 4 << 20
    at_once: int = 1024
    block: int = BLOCK
