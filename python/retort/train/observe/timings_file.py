"""timings.jsonl: a line for each `Timing`, which is not the same from run to run."""

from pathlib import Path

from retort.train.observe.observer import Observer
from retort.train.observe.step_lines import StepLines
from retort.train.observe.timings import Timing


class TimingsFile(Observer):
    """Writes each record as JSON. What was timed behind the step resumed from is cut off."""

    def __init__(self, path: Path, done: int) -> None:
        """
        Args:
            done: the step that the run goes on after.
        Raises:
            StorageError: the file cannot be written.
        """
        self._lines = StepLines(path, done)

    def timing(self, timing: Timing) -> None:
        """Append a record."""
        self._lines.write(timing.to_json())

    def sync(self) -> None:
        """As `Observer.sync`."""
        self._lines.sync()

    def close(self) -> None:
        """As `Observer.close`."""
        self._lines.close()
