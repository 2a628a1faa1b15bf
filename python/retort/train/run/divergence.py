"""Stopping a run that has gone wrong: a loss that is no number, or one far above its own past."""

import math
import statistics
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from retort.core.errors import RetortError
from retort.train.observe.step import Step
from retort.train.recipe import DivergenceConfig

_ADVICE = "lower optimizer.lr, lengthen schedule.warmup, or mend the documents"


@dataclass(frozen=True)
class Fault:
    """What was wrong with a step.

    Attributes:
        shards: those whose loss is at fault; all of them if it cannot be told.
        reason: one line without the step.
        advice: what to change in the recipe.
    """

    step: Step
    shards: tuple[int, ...]
    reason: str
    advice: str


class TrainingStopped(RetortError):
    """The run was stopped at a step, whose weights must not be kept."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(
            f"step {fault.step.number}: {fault.reason} (learning rate {fault.step.lr:.3g}); "
            f"the same recipe comes to the same step again: {fault.advice}, as a new run"
        )
        self.fault = fault


class DivergenceGuard:
    """Judges one step after the other, on every rank alike: all of them see all losses."""

    def __init__(self, config: DivergenceConfig, losses: Sequence[float] = ()) -> None:
        """
        Args:
            losses: what `state` gave when the checkpoint was made that the run goes on from.
        """
        self._config = config
        self._losses = deque(losses, maxlen=config.window)

    def judge(self, step: Step) -> None:
        """Look at a step before anything else is done with it.

        Raises:
            TrainingStopped: a loss or the gradient's norm is not finite, or the loss is a spike.
        """
        fault = _not_finite(step) or self._spike(step)
        if fault is not None:
            raise TrainingStopped(fault)
        self._losses.append(step.loss)

    def state(self) -> list[float]:
        """The losses that the next step is judged by, for a checkpoint."""
        return list(self._losses)

    def _spike(self, step: Step) -> Fault | None:
        if self._config.spike is None or len(self._losses) < self._config.window:
            return None
        usual = statistics.median(self._losses)
        limit = self._config.spike * usual
        if step.loss <= limit:
            return None
        # A shard's loss is its part of the step's: as many as there are make up the whole.
        count = len(step.losses)
        above = [shard for shard in range(count) if step.losses[shard] * count > limit]
        above = above or [max(range(count), key=step.losses.__getitem__)]
        return Fault(
            step,
            tuple(above),
            f"the loss is {step.loss:.4g}, over {self._config.spike:g} times {usual:.4g}, the "
            f"median of the last {len(self._losses)}, most of it from {_named(above)}",
            "lower optimizer.lr or optimizer.max_grad_norm, or raise divergence.spike",
        )


def stopped_after(step: Step, reason: str) -> TrainingStopped:
    """For a step whose loss and gradient were as they should be, and what it made of the model not.

    Args:
        reason: one line without the step.
    """
    return TrainingStopped(Fault(step, tuple(range(len(step.losses))), reason, _ADVICE))


def _not_finite(step: Step) -> Fault | None:
    wrong = [shard for shard, loss in enumerate(step.losses) if not math.isfinite(loss)]
    if wrong:
        losses = ", ".join(str(step.losses[shard]) for shard in wrong)
        return Fault(step, tuple(wrong), f"the loss of {_named(wrong)} is {losses}", _ADVICE)
    everything = tuple(range(len(step.losses)))
    if not math.isfinite(step.loss):
        reason = f"the losses of the shards are finite, and their sum is {step.loss}"
        return Fault(step, everything, reason, _ADVICE)
    if not math.isfinite(step.gradient_norm):
        reason = f"the loss is {step.loss:.4g}, and its gradient's norm {step.gradient_norm}"
        return Fault(step, everything, reason, _ADVICE)
    return None


def _named(shards: Sequence[int]) -> str:
    plural = "" if len(shards) == 1 else "s"
    return f"shard{plural} {', '.join(map(str, shards))}"
