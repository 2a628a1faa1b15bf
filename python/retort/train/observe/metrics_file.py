"""metrics.jsonl: one line for each optimiser step, the same bytes for the same recipe.

A checkpoint knows the lines before it by one digest, which every line changes, so a file that was
altered is neither gone on with nor shown in a report.
"""

from itertools import islice
from pathlib import Path

from retort.core.digest import JSON, open_regular, sha256_bytes
from retort.core.errors import DataError
from retort.train.observe.observer import Observer
from retort.train.observe.step import Step
from retort.train.observe.step_lines import StepLines, as_line


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
        self._lines.write(_record(step))

    def sync(self) -> None:
        """As `Observer.sync`."""
        self._lines.sync()

    def close(self) -> None:
        """As `Observer.close`."""
        self._lines.close()


def with_line(digest: str, step: Step) -> str:
    """The digest of the lines up to a step, from the one of the lines before it ("" of none)."""
    return _chained(digest, as_line(_record(step)))


def read_metrics(path: Path, steps: int, digest: str) -> list[bytes]:
    """The lines of the first `steps` steps.

    Args:
        digest: of their lines.
    Raises:
        DataError: these are not the lines that the run wrote.
    """
    lines, found = [], ""
    try:
        with open_regular(path) as file:
            for line in islice(file, steps):
                lines.append(line)
                found = _chained(found, line)
    except OSError as error:
        if steps:
            raise DataError(
                f"{path}: cannot be read: {error.strerror}; put the file back, or start the run "
                "again with --overwrite"
            ) from error
    if found != digest:
        raise DataError(
            f"{path}: is altered: its first {steps} lines are not those that the run wrote; put the "
            "file back, or start the run again with --overwrite"
        )
    return lines


def _record(step: Step) -> dict[str, JSON]:
    return {
        "step": step.number,
        "loss": step.loss,
        "losses": step.losses,
        "lr": step.lr,
        "gradient_norm": step.gradient_norm,
        "samples": step.samples,
        "tokens": step.tokens,
    }


def _chained(digest: str, line: bytes) -> str:
    return sha256_bytes(digest.encode() + line)
