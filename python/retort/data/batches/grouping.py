"""Which texts go into a micro-batch together, so that little of it is padding.

The documents of a window of steps are sorted by the length that they are padded to, cut into
micro-batches, and dealt to the steps again: of each stratum of lengths, from short to long, every
step gets one micro-batch, drawn from the seed and the window's number. So a micro-batch is of one
length, and a step of all lengths, as a batch drawn at random is, only more evenly.
"""

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray


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
    for shard, stratum in enumerate(_balanced(shards)):
        drawn = sorted(range(steps), key=lambda step: _draw(seed, window, stratum, step))
        dealt[drawn, shard] = strata[stratum]
    return dealt


def _balanced(count: int) -> list[int]:
    """The strata in an order in which neighbours are about as long together as other neighbours.

    Ranks run contiguous shards and wait for each other, so each should have as much to compute.
    The shortest goes beside the longest, such pairs are paired in the same way, and so on.
    """
    groups: list[list[int]] = [[stratum] for stratum in range(count)]
    while len(groups) > 1:
        half = len(groups) // 2
        middle = groups[half : len(groups) - half]
        paired = zip(groups[:half], reversed(groups[-half:]), strict=True)
        groups = [[*short, *long] for short, long in paired] + middle
    return groups[0]


def _draw(*parts: Any) -> bytes:
    return hashlib.sha256("/".join(map(str, parts)).encode()).digest()
