"""Event files for TensorBoard: `tensorboard --logdir RUN/tensorboard`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from retort.core.atomic import storage_errors
from retort.train.observe.observer import Observer
from retort.train.observe.scalars import evaluation_scalars, step_scalars, timing_scalars
from retort.train.observe.step import Step
from retort.train.observe.timings import Timing


class TensorBoard(Observer):
    """Loss, rate and gradient norm of each step; throughput, shares and evaluations."""

    def __init__(self, directory: Path, done: int) -> None:
        """
        Args:
            done: the step that the run goes on after; TensorBoard forgets what is behind it.
        Raises:
            StorageError: the directory cannot be written.
        """
        from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[import-untyped]
        from torch.utils.tensorboard import SummaryWriter

        self._directory = directory
        self._summary: Any = Summary
        with storage_errors(directory):
            # Every process of a run has a file of its own, which begins with forgetting what is behind.
            self._writer: Any = SummaryWriter(str(directory), purge_step=done + 1, max_queue=1000)

    def step(self, step: Step) -> None:
        """As `Observer.step`."""
        self._write(step.number, step_scalars(step))

    def timing(self, timing: Timing) -> None:
        """As `Observer.timing`."""
        self._write(timing.step, timing_scalars(timing))

    def evaluation(self, number: int, metrics: Mapping[str, float]) -> None:
        """As `Observer.evaluation`."""
        self._write(number, evaluation_scalars(metrics))

    def sync(self) -> None:
        """Hands over what waits in the writer's queue."""
        with storage_errors(self._directory):
            self._writer.flush()

    def close(self) -> None:
        """As `Observer.close`."""
        with storage_errors(self._directory):
            self._writer.close()

    def _write(self, number: int, values: Mapping[str, float]) -> None:
        # One event for all values: `add_scalar` would take as long for each of them.
        summary = self._summary(
            value=[
                self._summary.Value(tag=tag, simple_value=value) for tag, value in values.items()
            ]
        )
        with storage_errors(self._directory):
            self._writer.file_writer.add_summary(summary, number)
