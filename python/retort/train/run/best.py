"""The checkpoint of the best evaluation: sound when it is needed, or made again.

Every step is a function of the steps before it, so one that was lost is lost for a while only: the
run computes it again, from the newest checkpoint before it or from the beginning, and then goes on
where it was.
"""

import dataclasses
import logging
import os
from collections.abc import Callable
from pathlib import Path

from retort.core.errors import ConfigError, SealError, VerificationError, shown
from retort.core.seal import Sealed
from retort.train.checkpoints.progress_record import ProgressRecord
from retort.train.checkpoints.resume import (
    Read,
    TensorReader,
    checkpoint_path,
    newest_checkpoint,
    set_aside,
    sound_checkpoint,
)
from retort.train.checkpoints.writer import CheckpointWriter
from retort.train.observe.observer import Observer
from retort.train.run.divergence import DivergenceGuard
from retort.train.run.loop import Parts, train

_log = logging.getLogger(__name__)


class BestCheckpoint:
    """Sees to it that the weights which the final checkpoint holds can be had. All ranks together."""

    def __init__(
        self,
        run: Path,
        parts: Parts,
        writer: CheckpointWriter,
        *,
        check_ours: Callable[[Sealed], None],
        beginning: Callable[[], Read],
    ) -> None:
        """
        Args:
            check_ours: raises ConfigError for a checkpoint of another run.
            beginning: gives the state that the run began from.
        """
        self._run, self._parts, self._writer = run, parts, writer
        self._check_ours, self._beginning = check_ours, beginning

    def secure(self, progress: ProgressRecord) -> bool:
        """Make the best checkpoint so far again, if it is needed and cannot be had.

        Returns:
            Whether it was, so that the engine's state is now another than it was.
        Raises:
            VerificationError: what was computed again is not what was recorded.
            TrainingStopped, KeyboardInterrupt, Terminated, StorageError: as in `loop.train`.
        """
        step, world = self._needed(progress), self._parts.world
        if step is None:
            return False
        reason = self._fault(step) if world.is_main else None
        reason = world.broadcast_object(reason, "while the best checkpoint was verified")
        if reason is None:
            return False
        found = newest_checkpoint(self._run, before=step) if world.is_main else None
        if found is not None:
            self._check_ours(found.sealed)
        told = None if found is None else (found.sealed.path, found.progress)
        told = world.broadcast_object(told, "while a checkpoint before the best was looked for")
        path, before = (None, ProgressRecord()) if told is None else told
        if world.is_main:
            _log.warning(
                "%s; step %d is the best so far, so steps %d to %d are computed again",
                reason,
                step,
                before.step + 1,
                step,
            )
        read = self._beginning() if path is None else TensorReader(path)
        self._parts.engine.restore(read, before.step)
        again = dataclasses.replace(
            self._parts,
            guard=DivergenceGuard(self._parts.recipe.divergence, before.losses),
            observer=Observer(),  # the lines of these steps are there
        )
        made = train(again, before, until=step).progress
        self._writer.finish()
        if made.evaluations != tuple(one for one in progress.evaluations if one.step <= step):
            raise VerificationError(
                f"step {step} was computed again, and its evaluation is not the recorded one: "
                "another kind of processor, library or number of processes gives other bits; go on "
                "where the run began, or start it again with --overwrite"
            )
        return True

    def take(self, progress: ProgressRecord) -> int:
        """Give the engine the weights that the final checkpoint is to hold.

        Args:
            progress: at the end, whose weights the engine has.
        Returns:
            The step that they are of.
        Raises:
            As `secure`.
        """
        step = self._needed(progress)
        if step is None:
            return progress.step
        self.secure(progress)
        self._parts.engine.restore(TensorReader(checkpoint_path(self._run, step)), step)
        if self._parts.world.is_main:
            metric = self._parts.recipe.evaluate.metric
            _log.info("the checkpoint is that of step %d, the best by %s", step, metric)
        return step

    def _needed(self, progress: ProgressRecord) -> int | None:
        """The step of the best evaluation, if the run's result is not that of `progress` itself."""
        config = self._parts.recipe.evaluate
        best = progress.best(config)
        if config.select == "last" or best is None or best.step == progress.step:
            return None
        return best.step

    def _fault(self, step: int) -> str | None:
        """Why a checkpoint cannot be had; it is set aside then."""
        try:
            self._check_ours(sound_checkpoint(self._run, step).sealed)
        except (SealError, ConfigError) as error:
            path = checkpoint_path(self._run, step)
            kept = f"; it is kept as {shown(set_aside(path))}" if os.path.lexists(path) else ""
            return f"{error}{kept}"
        return None
