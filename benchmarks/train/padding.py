"""How much of what a model computes is padding: by how texts are put into micro-batches."""

import numpy as np

from benchmarks.train.workload import Workload
from retort.data.store.store import TokenStore

MAX_TOKENS = 512
_STEPS = 64


def padding_shares(workload: Workload, store: TokenStore) -> dict[str, float]:
    """The share of padding in what a model of `MAX_TOKENS` reads: the plainest way first, ours last.

    Args:
        workload: its shards, batch and multiple; its length is not used.
    """
    workload = workload.model_copy(update={"max_tokens": MAX_TOKENS})
    ways = {
        "every text to the longest allowed": {"grouping": 1, "pad_to": MAX_TOKENS},
        "batches to their longest text": {"grouping": 1, "pad_to": 1, "shards": 1},
        "micro-batches, not grouped": {"grouping": 1},
        "micro-batches, grouped": {},
    }
    return {
        name: _share(workload.model_copy(update=changes), store) for name, changes in ways.items()
    }


def _share(workload: Workload, store: TokenStore) -> float:
    reader = workload.reader(store)
    batches = (
        reader.batch(step, shard) for step in range(_STEPS) for shard in range(workload.shards)
    )
    sizes = np.array([(batch.mask.sum(), batch.mask.size) for batch in batches]).sum(axis=0)
    return float(1 - sizes[0] / sizes[1])
