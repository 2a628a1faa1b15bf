"""metrics.jsonl: one line for each optimiser step, the same bytes for the same recipe."""

from pathlib import Path

from retort.core.errors import DataError
from retort.train.observers import Observer
from retort.train.step import Step
from retort.train.step_lines import StepLines


class MetricsFile(Observer):
    """Writes loss, rate and gradient norm of each step as JSON."""

    def __init__(self, path: Path, done: int) -> None:
        """
        Args:
            done: the step that the run goes on after; lines behind it are cut off.
        Raises:
            DataError: not every step before is there.
            StorageError: the file cannot be written.
        """
        self._lines = StepLines(path, done)
        if self._lines.lines != done:
            self._lines.close()
            raise DataError(
                f"{path}: holds {self._lines.lines} of the {done} steps before the checkpoint; put "
                "the file back, or start the run again with --overwrite"
            )

    def step(self, step: Step) -> None:
        """Append the line of a step."""
        self._lines.write(
            {
                "step": step.number,
                "loss": step.loss,
                "losses": step.losses,
                "lr": step.lr,
                "gradient_norm": step.gradient_norm,
                "samples": step.samples,
                "tokens": step.tokens,
            }
        )

    def sync(self) -> None:
        """As `Observer.sync`."""
        self._lines.sync()

    def close(self) -> None:
        """As `Observer.close`."""
        self._lines.close()
