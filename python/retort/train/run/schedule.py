"""The learning rate of each step."""

import math

from retort.train.recipe import ScheduleConfig


def learning_rate(config: ScheduleConfig, peak: float, step: int, steps: int) -> float:
    """The rate of step `step` (from 0) of `steps`: never zero, and `peak` after the rise."""
    rise = round(config.warmup * steps)
    if step < rise:
        return peak * (step + 1) / (rise + 1)
    left = (steps - step) / (steps - rise)
    if config.decay == "linear":
        return peak * left
    if config.decay == "cosine":
        return peak * (1 - math.cos(math.pi * left)) / 2
    return peak
