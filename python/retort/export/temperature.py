"""The temperature by which probabilities tell how often answers are right, and from where on an answer is given.

Functions of the logits alone, by operations that every processor rounds alike.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from retort.evaluate.elementary import exp

_LOWEST, _HIGHEST = 2.0**-6, 2.0**6
_HALVINGS = 40
_DIGITS = 4


def fitted_temperature(logits: NDArray[np.float32], targets: NDArray[np.int64]) -> float:
    """The temperature under which the documents' own labels are likeliest, to 4 digits behind the point.

    Guo and others, "On Calibration of Modern Neural Networks", 2017, section 4.2. It changes no answer. The likelihood
    is concave in 1 / temperature, so where its slope is zero is found by halving, between 1/64 and 64.

    Args:
        logits: [documents, labels]; targets: [documents].
    """
    scores = logits.astype(np.float64)
    scores -= scores.max(axis=1, keepdims=True)
    own = scores[np.arange(len(scores)), targets]

    def is_too_hot(cold: float) -> bool:
        powers = exp(scores * cold)
        # math.fsum rounds once, in whatever order.
        total = np.array([math.fsum(row) for row in powers.tolist()])
        mean = np.array([math.fsum(row) for row in (powers * scores).tolist()]) / total
        return math.fsum((own - mean).tolist()) > 0

    low, high = 1 / _HIGHEST, 1 / _LOWEST
    for _ in range(_HALVINGS):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if is_too_hot(middle) else (low, middle)
    return round(1 / math.sqrt(low * high), _DIGITS)


def thresholds(
    probabilities: NDArray[np.float32], targets: NDArray[np.int64], share: float
) -> tuple[float, ...]:
    """Of each label, the probability below which `share` of the documents lie that it was rightly given.

    A label that was rightly given to none has 0: it is always given.

    Args:
        probabilities: [documents, labels]; targets: [documents].
        share: from 0 to 1, without 1.
    """
    given = probabilities.argmax(axis=1)
    found = []
    for label in range(probabilities.shape[1]):
        right = np.sort(probabilities[(given == label) & (targets == label), label])
        found.append(float(right[int(share * len(right))]) if len(right) else 0.0)
    return tuple(found)


def is_given(probabilities: NDArray[np.float32], least: Sequence[float]) -> NDArray[np.bool_]:
    """Whether the likeliest label of each document reaches its threshold, [documents]."""
    best = probabilities.argmax(axis=1)
    reached: NDArray[np.bool_] = probabilities.max(axis=1) >= np.array(least, np.float32)[best]
    return reached
