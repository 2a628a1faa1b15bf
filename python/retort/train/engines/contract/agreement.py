"""What all ranks have to know of a step: its losses, and the norm of its gradient."""

from collections.abc import Sequence

import torch
from torch import Tensor

from retort.train.engines.contract.exchange import gathered
from retort.train.engines.contract.norms import block_squares, norm_of
from retort.train.engines.contract.settings import ContractSettings
from retort.train.engines.contract.tree import share_of
from retort.train.engines.engine import Outcome
from retort.train.processes.world import World
from retort.train.timing.phases import PhaseClock


def agreed(
    gradients: Sequence[Tensor],
    losses: Tensor,
    blocks: int,
    *,
    settings: ContractSettings,
    world: World,
    portable: bool,
    clock: PhaseClock,
) -> Outcome:
    """Equal on all ranks; a collective.

    Args:
        gradients: this rank's slice of each bucket, float32.
        losses: of this rank's shards, 1-d.
        blocks: how many of all buckets count.
        portable: whether squares are summed by portable kernels.
    """
    size, block, shards = world.size, settings.block, settings.shards
    share = share_of(world.rank, size, shards)
    squares = torch.cat([block_squares(one, block, portable=portable) for one in gradients])
    # Each gives what it knows, zero elsewhere.
    known = torch.zeros(shards, dtype=torch.float64, device=squares.device)
    known[share.start : share.stop] = losses
    # A GPU is waited for here, and nowhere else in a step.
    told = torch.cat([squares, known]).cpu()
    with clock.phase("communication"):
        rows = gathered(told, size)
    of_buckets = [len(one) // block for one in gradients]
    slices = torch.split(rows[:, : len(squares)], of_buckets, dim=1)
    in_order = torch.cat([one.reshape(-1) for one in slices])[:blocks]
    every = rows[:, len(squares) :].tolist()
    shares = [share_of(rank, size, shards) for rank in range(size)]
    return Outcome(
        losses=tuple(every[rank][shard] for rank, share in enumerate(shares) for shard in share),
        gradient_norm=norm_of(in_order),
    )
