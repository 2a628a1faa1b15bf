"""Whether a classifier that is sure of 90 % of its answers is right in 90 % of them."""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

BINS = 15


@dataclass(frozen=True)
class Bin:
    """Documents whose confidence is over `low` and at most `high`.

    Attributes:
        confidence: mean probability of the label predicted; accuracy: share of right ones. Both
            are 0 without documents.
    """

    low: float
    high: float
    documents: int
    confidence: float
    accuracy: float


def reliability(
    confidence: NDArray[np.float64], right: NDArray[np.bool_], bins: int = BINS
) -> tuple[Bin, ...]:
    """The bins of a reliability diagram, of equal width (Guo et al. 2017, section 2).

    Args:
        confidence: [documents], 0 .. 1; right: [documents].
    """
    edges = [number / bins for number in range(bins + 1)]
    places = np.searchsorted(np.array(edges[1:-1]), confidence, side="left")
    found = []
    for number, (low, high) in enumerate(pairwise(edges)):
        inside = places == number
        count = int(inside.sum())
        # math.fsum rounds once: no order of the documents, no number of threads changes a bit.
        total = math.fsum(confidence[inside].tolist())
        found.append(
            Bin(
                low=low,
                high=high,
                documents=count,
                confidence=total / count if count else 0.0,
                accuracy=int(right[inside].sum()) / count if count else 0.0,
            )
        )
    return tuple(found)


def calibration_error(bins: tuple[Bin, ...]) -> float:
    """Expected calibration error: the mean gap between confidence and accuracy, by documents.

    Guo et al. 2017, "On Calibration of Modern Neural Networks", equation 3.
    """
    total = sum(one.documents for one in bins)
    return math.fsum(one.documents * abs(one.accuracy - one.confidence) for one in bins) / total
