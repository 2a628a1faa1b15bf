"""How well scores separate one class from the rest, whatever the threshold."""

import numpy as np
from numpy.typing import NDArray


def roc_auc(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> float | None:
    """Area under the ROC curve: how often a positive scores over a negative, a tie being half.

    It is the rank statistic of Mann and Whitney (1947) with middle ranks, so it is exact up to one
    division, and does not depend on the order of the documents.

    Args:
        scores: [documents]; positive: [documents].
    Returns:
        0 .. 1; None without a positive or without a negative.
    """
    positives = int(positive.sum())
    negatives = len(positive) - positives
    if positives == 0 or negatives == 0:
        return None
    _, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    twice_ranks = (2 * last - counts + 1)[places]  # integers: first + last rank of a tie
    twice_wins = int(twice_ranks[positive].sum()) - positives * (positives + 1)
    return twice_wins / (2 * positives * negatives)
