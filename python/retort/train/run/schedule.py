"""The learning rate of each step."""

from decimal import Decimal, localcontext

from retort.train.recipe import ScheduleConfig

_DIGITS, _TERMS = 40, 26
"""The terms behind these are below 1e-40."""
_PI = Decimal("3.14159265358979323846264338327950288419716939937510582")


def learning_rate(config: ScheduleConfig, peak: float, step: int, steps: int) -> float:
    """The rate of step `step` (from 0) of `steps`: never zero, and `peak` after the rise."""
    rise = round(config.warmup * steps)
    if step < rise:
        return peak * (step + 1) / (rise + 1)
    left = (steps - step) / (steps - rise)
    if config.decay == "linear":
        return peak * left
    if config.decay == "cosine":
        return peak * (1 - _cosine_of_half_turns(left)) / 2
    return peak


def _cosine_of_half_turns(turns: float) -> float:
    """cos(pi turns) for turns from 0 to 1, by its series, rounded once: the C library's follows the processor."""
    with localcontext() as context:
        context.prec = _DIGITS
        square = (_PI * Decimal(turns)) ** 2
        term = total = Decimal(1)
        for n in range(1, _TERMS):
            term *= -square / ((2 * n - 1) * (2 * n))
            total += term
        return float(total)
