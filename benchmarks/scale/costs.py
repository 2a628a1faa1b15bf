"""What a step costs beyond computing, by formulas: bytes, messages and memory of the busiest rank.

Ring all-reduce and all-gather: Patarasuk and Yuan, 2009. FSDP: Zhao and others, 2023. All numbers are float32, as the
contract has them; halves are what others may send in bfloat16.
"""

from dataclasses import dataclass

from retort.train.engines.contract.exchange import roots_of_all

_FLOAT32 = 4
_HASHED = 1.4e9
"""Bytes of a checkpoint a second, by SHA-256 on one core of an AMD EPYC (Zen 3)."""
_BUCKET = 16 << 20
"""Bytes that travel together (`ContractSettings.bucket`), and about what DDP takes."""


@dataclass(frozen=True)
class Network:
    """What ranks are joined by.

    Attributes:
        bandwidth: bytes a second that a rank sends while it receives as many.
        latency: seconds of a message.
    """

    name: str
    bandwidth: float
    latency: float


@dataclass(frozen=True)
class Cost:
    """Of a step, on the rank that has most of each.

    Attributes:
        sent, received: bytes.
        messages: that are sent.
        held: bytes of weights, gradients, moments and what is received, activations left out.
    """

    sent: float
    received: float
    messages: int
    held: float

    def seconds(self, network: Network) -> float:
        """If nothing overlaps."""
        return max(self.sent, self.received) / network.bandwidth + self.messages * network.latency


def contract(weights: int, world_size: int, shards: int) -> Cost:
    """The contract by collectives: roots of subtrees to the owners of slices, and new weights back."""
    whole, peers = _FLOAT32 * weights, world_size - 1
    roots = [len(one) for one in roots_of_all(world_size, shards)]
    share = whole * peers / world_size
    buckets = -(-whole // _BUCKET)
    rounds = max(roots)
    return Cost(
        sent=(max(roots) + 1) * share,
        received=(sum(roots) - min(roots)) * whole / world_size + share,
        messages=(rounds + 1) * buckets * peers,
        held=whole * (1 + max(roots) + 2 / world_size)
        + (sum(roots) * whole / world_size if peers else 0),
    )


def sliced(weights: int, world_size: int, shards: int, largest: int) -> Cost:
    """The contract with weights that are shared out: gathered twice for each shard of a rank, whose gradients leave.

    Args:
        largest: weights of the largest tensor.
    """
    whole, peers = _FLOAT32 * weights, world_size - 1
    leaves = shards // world_size
    share = whole * peers / world_size
    buckets = -(-whole // (_FLOAT32 * (1 << 16) * world_size))
    alive = 1 + (leaves - 1).bit_length()
    return Cost(
        sent=3 * leaves * share,
        received=3 * leaves * share,
        messages=3 * leaves * buckets * peers,
        held=whole * (3 + alive) / world_size + 2 * _FLOAT32 * largest,
    )


def all_reduce(weights: int, world_size: int) -> Cost:
    """DDP: gradients by a ring, once a step; each rank has all moments."""
    whole, peers = _FLOAT32 * weights, world_size - 1
    share = 2 * whole * peers / world_size
    return Cost(share, share, 2 * peers * -(-whole // _BUCKET), 4 * whole)


def fsdp(weights: int, world_size: int, largest: int) -> Cost:
    """Weights gathered twice a step, and gradients scattered once, by rings."""
    whole, peers = _FLOAT32 * weights, world_size - 1
    share = 3 * whole * peers / world_size
    held = 4 * whole / world_size + 2 * _FLOAT32 * largest
    return Cost(share, share, 3 * peers * -(-whole // _BUCKET), held)


def written(weights: int, world_size: int, network: Network) -> float:
    """Seconds in which a rank writes its slices of weights and moments to storage as fast as the network."""
    return 3 * _FLOAT32 * weights / world_size / network.bandwidth


def hashed(weights: int) -> float:
    """Seconds in which a thread of rank 0 hashes what all have written."""
    return 3 * _FLOAT32 * weights / _HASHED
