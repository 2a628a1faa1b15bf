"""The canonical tree: in which pairs the gradients of logical shards are added, whoever adds them.

Addition of floating-point numbers commutes but does not associate, so a sum over shards has one
value only if its brackets are fixed. Here they follow from the number of shards alone: neighbours
are added, then pairs of neighbours, and so on; a node without a right neighbour moves up as it is.
A rank that holds a contiguous range of shards can add up the whole subtrees inside its range, and
hands on their roots.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
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

    def of(self, shards: int) -> range:
        """Those of so many shards that are in it."""
        return range(self.index << self.level, min((self.index + 1) << self.level, shards))

    def halves(self, shards: int) -> "tuple[Node, ...]":
        """Of a node above the leaves: one where there is nothing on the right."""
        both = (Node(self.level - 1, 2 * self.index + one) for one in (0, 1))
        return tuple(half for half in both if half.of(shards))


@dataclass(frozen=True)
class Leaf:
    """What a rank does with the gradient of one shard, or of a subtree that is computed at once.

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
        leaves: one for each shard or subtree.
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
    return plan_nodes([Node(0, shard) for shard in share], shards)


def plan_nodes(nodes: Sequence[Node], shards: int) -> RangePlan:
    """The same where whole subtrees are computed at once.

    Args:
        nodes: that together are a range of shards, in their order.
    """
    alive: dict[Node, int] = {}
    free: list[int] = []
    slots = 0
    leaves = []
    for given in nodes:
        lefts: list[int] = []

        def merge(left: int, _: int, lefts: list[int] = lefts) -> int:
            lefts.append(left)
            return left

        node = rise(alive, given, -1, shards, merge)
        if not lefts:
            alive[node] = free.pop() if free else slots
            slots = max(slots, alive[node] + 1)
        free += lefts[:-1]
        leaves.append(Leaf(tuple(lefts), alive[node]))
    roots = tuple(sorted(alive))
    ends = {node.of(shards).stop: place for place, node in enumerate(nodes)}
    for number, root in enumerate(roots):
        last = ends[root.of(shards).stop]
        leaves[last] = dataclasses.replace(leaves[last], root=number)
    return RangePlan(tuple(leaves), roots, slots)


def cut(roots: Iterable[Node], sizes: Mapping[int, int], most: int, shards: int) -> list[Node]:
    """The largest subtrees whose shards together are no larger than that, or single shards, in the order of shards.

    Args:
        roots: of subtrees.
        sizes: of each shard in them.
    """
    found = []
    for root in sorted(roots, key=lambda root: root.of(shards).start):
        here = root.of(shards)
        if len(here) == 1 or sum(sizes[one] for one in here) <= most:
            found.append(root)
        else:
            found += cut(root.halves(shards), sizes, most, shards)
    return found


def tree_sum(
    nodes: Iterable[tuple[Node, ValueT]], shards: int, merge: Callable[[ValueT, ValueT], ValueT]
) -> ValueT:
    """The root of the canonical tree, from nodes that together cover every shard once.

    Args:
        merge: gives the sum of the left and the right half of a node; it may reuse the left one.
    """
    alive: dict[Node, ValueT] = {}
    for node, value in nodes:
        rise(alive, node, value, shards, merge)
    (root,) = alive.values()
    return root


def rise(
    alive: dict[Node, ValueT],
    node: Node,
    value: ValueT,
    shards: int,
    merge: Callable[[ValueT, ValueT], ValueT],
) -> Node:
    """Put a node among those alive, and add as far up as both halves are there; where it ended.

    Args:
        merge: as of `tree_sum`.
    """
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
