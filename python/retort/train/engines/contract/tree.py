"""The canonical tree: in which pairs the gradients of logical shards are added, whoever adds them.

Addition of floating-point numbers commutes but does not associate, so a sum over shards has one
value only if its brackets are fixed. Here they follow from the number of shards alone: neighbours
are added, then pairs of neighbours, and so on; a node without a right neighbour moves up as it is.
A rank that holds a contiguous range of shards can add up the whole subtrees inside its range, and
hands on their roots.
"""

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

ValueT = TypeVar("ValueT")


@dataclass(frozen=True, order=True)
class Node:
    """The sum of the shards from `index << level` on, `1 << level` of them or as many as exist."""

    level: int
    index: int

    def parent(self) -> "Node":
        """The node that this one is a half of."""
        return Node(self.level + 1, self.index >> 1)

    def sibling(self) -> "Node":
        """The other half of the parent."""
        return Node(self.level, self.index ^ 1)


@dataclass(frozen=True)
class Leaf:
    """What a rank does with the gradient of one shard.

    Attributes:
        lefts: the slots of what it is added to, one after the other up the tree: each holds the
            left half of a node whose right half was just summed up.
        slot: where the sum then stays.
        root: number of the root that is complete by that, if one is.
    """

    lefts: tuple[int, ...]
    slot: int
    root: int | None = None


@dataclass(frozen=True)
class RangePlan:
    """How a rank adds up its range of shards, in rising order.

    Attributes:
        leaves: one for each shard.
        roots: the subtrees that are whole within the range.
        slots: how many gradients are alive at a time, at most.
    """

    leaves: tuple[Leaf, ...]
    roots: tuple[Node, ...]
    slots: int


def share_of(rank: int, world_size: int, shards: int) -> range:
    """The contiguous range of shards that a rank runs: all ranks' shares differ by one at most."""
    return range(shards * rank // world_size, shards * (rank + 1) // world_size)


def plan_range(share: range, shards: int) -> RangePlan:
    """Plan the sums of a rank: a binary counter, so about log2 of its shards are alive at a time."""
    alive: dict[Node, int] = {}
    free: list[int] = []
    slots = 0
    leaves = []
    for shard in share:
        lefts: list[int] = []

        def merge(left: int, _: int, lefts: list[int] = lefts) -> int:
            lefts.append(left)
            return left

        node = _rise(alive, Node(0, shard), -1, shards, merge)
        if not lefts:
            alive[node] = free.pop() if free else slots
            slots = max(slots, alive[node] + 1)
        free += lefts[:-1]
        leaves.append(Leaf(tuple(lefts), alive[node]))
    roots = tuple(sorted(alive))
    for number, root in enumerate(roots):
        last = min((root.index + 1) << root.level, shards) - 1 - share.start
        leaves[last] = dataclasses.replace(leaves[last], root=number)
    return RangePlan(tuple(leaves), roots, slots)


def tree_sum(
    nodes: Iterable[tuple[Node, ValueT]], shards: int, merge: Callable[[ValueT, ValueT], ValueT]
) -> ValueT:
    """The root of the canonical tree, from nodes that together cover every shard once.

    Args:
        merge: gives the sum of the left and the right half of a node; it may reuse the left one.
    """
    alive: dict[Node, ValueT] = {}
    for node, value in nodes:
        _rise(alive, node, value, shards, merge)
    (root,) = alive.values()
    return root


def _rise(
    alive: dict[Node, ValueT],
    node: Node,
    value: ValueT,
    shards: int,
    merge: Callable[[ValueT, ValueT], ValueT],
) -> Node:
    """Put a node among those alive, and add as far up as both halves are there; where it ended."""
    top = (shards - 1).bit_length()
    while node.level < top:
        sibling = node.sibling()
        if sibling.index << sibling.level >= shards:
            pass  # there is nothing on the right
        elif sibling in alive:
            other = alive.pop(sibling)
            value = merge(value, other) if node.index < sibling.index else merge(other, value)
        else:
            break
        node = node.parent()
    alive[node] = value
    return node
