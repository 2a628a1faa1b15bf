"""95 % intervals of a share and of a mean, exact enough that no statistics library is needed."""

import math
from collections.abc import Sequence

_Z_95 = 1.959963984540054
_LEVEL = 0.95


def wilson_interval(right: int, total: int) -> tuple[float, float]:
    """95 % score interval of a share (Wilson 1927), which stays inside 0 .. 1."""
    share, square = right / total, _Z_95**2
    centre = share + square / (2 * total)
    half = _Z_95 * math.sqrt(share * (1 - share) / total + square / (4 * total**2))
    scale = 1 + square / total
    low, high = (centre - half) / scale, (centre + half) / scale
    return max(0.0, min(low, share)), min(1.0, max(high, share))  # rounding may cross the share


def student_interval(values: Sequence[float]) -> tuple[float, float]:
    """95 % interval of the mean of at least two values, taken as drawn from one normal law.

    Folds of one corpus share most of what they learn from, so of their figures it is an
    approximation, rather too narrow (Bengio and Grandvalet 2004).
    """
    count = len(values)
    mean = math.fsum(values) / count
    variance = math.fsum((value - mean) ** 2 for value in values) / (count - 1)
    half = _student_quantile(count - 1) * math.sqrt(variance / count)
    return mean - half, mean + half


def _student_quantile(freedom: int) -> float:
    """The t with 95 % of Student's law between -t and t."""
    low, high = 0.0, math.pi / 2
    while (middle := (low + high) / 2) not in (low, high):
        if _student_between(middle, freedom) < _LEVEL:
            low = middle
        else:
            high = middle
    return math.tan(low) * math.sqrt(freedom)


def _student_between(angle: float, freedom: int) -> float:
    """Probability of |T| < tan(angle) * sqrt(freedom), as a finite sum.

    Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.3 and 26.7.4.
    """
    odd = freedom % 2
    sine, cosine = math.sin(angle), math.cos(angle)
    term = cosine if odd else 1.0
    terms = []
    for number in range(1 + odd, freedom, 2):
        terms.append(term)
        term *= cosine**2 * number / (number + 1)
    if odd:
        return 2 / math.pi * (angle + sine * math.fsum(terms))
    return sine * math.fsum(terms)
