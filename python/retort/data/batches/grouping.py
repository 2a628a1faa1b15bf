"""Which texts go into a micro-batch together.

Where nothing is padded, the documents of a step are dealt so that its micro-batches, and those of a
rank together, have about equally many tokens, as ranks wait for each other.

Where a text is padded to the longest beside it, little should be padding. The documents of a window
of steps are sorted by the length that they are padded to, cut into micro-batches, and dealt to the
steps again: of each stratum of lengths, from short to long, every step gets one micro-batch, drawn
from the seed and the window's number. So a micro-batch is of one length, and a step of all lengths,
as a batch drawn at random is, only more evenly.
"""

import hashlib
import heapq
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Grouping: TypeAlias = int | Literal["balanced"]
"""Steps in a window of `deal`, where 1 leaves documents in their order; or `balanced`."""


def balanced(tokens: NDArray[np.int64], shards: int) -> NDArray[np.int64]:
    """Give each shard of a step its documents. A pure function.

    From the longest on, each goes to the shard with the fewest tokens among those that still have room (Graham,
    "Bounds on multiprocessing timing anomalies", 1969); then a short shard is put beside a long one.

    Args:
        tokens: [shards * size], what each document of the step has.
    Returns:
        [shards, size], positions in `tokens`: each of them once, rising in each shard.
    """
    size = len(tokens) // shards
    open_shards = [(0, shard) for shard in range(shards)]
    dealt: list[list[int]] = [[] for _ in range(shards)]
    # Equal lengths stay in their order, which the epoch has drawn.
    for position in np.argsort(-tokens, kind="stable").tolist():
        held, shard = heapq.heappop(open_shards)
        dealt[shard].append(position)
        if len(dealt[shard]) < size:
            heapq.heappush(open_shards, (held + int(tokens[position]), shard))
    found = np.sort(np.array(dealt, np.int64), axis=1)
    rising = np.argsort(tokens[found].sum(axis=1), kind="stable")
    return found[rising[_alike(shards)]]


def deal(
    lengths: NDArray[np.int64], shards: int, size: int, *, seed: int, window: int
) -> NDArray[np.int64]:
    """Give each slot of a window of steps its documents. A pure function.

    Args:
        lengths: [steps * shards * size], what each document of the window is padded to.
        size: documents in a micro-batch.
        window: the number of the window in the run.
    Returns:
        [steps, shards, size], positions in `lengths`: each of them once.
    """
    steps = len(lengths) // (shards * size)
    # Equal lengths stay in their order, which the epoch has drawn.
    strata = np.argsort(lengths, kind="stable").reshape(shards, steps, size)
    dealt = np.empty((steps, shards, size), np.int64)
    for shard, stratum in enumerate(_alike(shards)):
        drawn = sorted(range(steps), key=lambda step: _draw(seed, window, stratum, step))
        dealt[drawn, shard] = strata[stratum]
    return dealt


def _alike(count: int) -> list[int]:
    """Rising numbers in an order in which neighbours are about as large together as other neighbours.

    Ranks run contiguous shards and wait for each other, so each should have as much to compute.
    The least goes beside the greatest, such pairs are paired in the same way, and so on.
    """
    groups: list[list[int]] = [[stratum] for stratum in range(count)]
    while len(groups) > 1:
        half = len(groups) // 2
        middle = groups[half : len(groups) - half]
        paired = zip(groups[:half], reversed(groups[-half:]), strict=True)
        groups = [[*small, *large] for small, large in paired] + middle
    return groups[0]


def _draw(*parts: Any) -> bytes:
    return hashlib.sha256("/".join(map(str, parts)).encode()).digest()
