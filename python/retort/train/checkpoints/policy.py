"""When the state of a run is kept, agreed on by all ranks after each step."""

import time
from collections.abc import Callable
from pathlib import Path

import torch

from retort.train.checkpoints.progress_record import ProgressRecord
from retort.train.checkpoints.resume import PROGRESS, checkpoint_path, remove_superseded
from retort.train.checkpoints.writer import CheckpointWriter
from retort.train.processes.stop import StopRequest
from retort.train.processes.world import World
from retort.train.recipe import CheckpointsConfig, EvaluateConfig


class CheckpointPolicy:
    """Begins checkpoints, sees them through, and ends the run when it is asked to stop."""

    def __init__(
        self,
        run: Path,
        config: CheckpointsConfig,
        evaluate: EvaluateConfig,
        world: World,
        writer: CheckpointWriter,
        *,
        before: Callable[[], None],
    ) -> None:
        """
        Args:
            run: the run's directory.
            before: called before a checkpoint is begun, so that what goes with it is on the disk.
        """
        self._run, self._config, self._evaluate = run, config, evaluate
        self._world, self._writer, self._before = world, writer, before
        self._last = time.monotonic()

    def after(self, progress: ProgressRecord, stop: StopRequest, *, done: bool) -> None:
        """After a step: keep its state if that is due, and leave if anybody wants to stop.

        Args:
            done: the run has come to its end, so that only its result is kept.
        Raises:
            KeyboardInterrupt, Terminated: a rank was asked to stop; the state is sealed.
            NotFinite: what is to be kept is not finite; nothing of it is.
            StorageError: a checkpoint could not be written; those before it stay.
        """
        late = self._config.minutes is not None and (
            time.monotonic() - self._last > 60 * self._config.minutes
        )
        signs = torch.tensor([stop.requested, late, self._writer.written])
        stops, lates, written = self._world.gather(signs, f"after step {progress.step}").T
        if bool(written.all()):
            self._writer.seal()
        asked = bool(stops.any())
        # Rank 0's clock decides for all.
        if asked or (not done and (bool(lates[0]) or self._due(progress))):
            self._save(progress)
        elif done:
            self._writer.check()
        if asked:
            self._writer.finish()
            stop.leave()

    def _due(self, progress: ProgressRecord) -> bool:
        if self._config.every is not None and progress.step % self._config.every == 0:
            return True
        best = progress.best(self._evaluate)
        return best is not None and best.step == progress.step

    def _save(self, progress: ProgressRecord) -> None:
        self._before()
        best = progress.best(self._evaluate)
        steps = () if best is None else (best.step,)
        self._writer.begin(
            checkpoint_path(self._run, progress.step),
            ("model", "optimizer"),
            {PROGRESS: progress.to_bytes()},
            lambda: remove_superseded(self._run, self._config.keep_last, steps, progress.step),
        )
        self._last = time.monotonic()
