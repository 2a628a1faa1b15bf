"""A file of JSON lines that name their step in rising order, and that a resumed run goes on with."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

from retort.core.atomic import storage_errors, sync_path
from retort.core.digest import JSON


class StepLines:
    """Appends lines, each handed to the system as it is written: a kill loses no whole line."""

    def __init__(self, path: Path, done: int) -> None:
        """Open a file, and cut off what is behind step `done`, or was only half written.

        Args:
            done: the step that the run goes on after; 0 begins the file anew.
        Raises:
            StorageError: the file cannot be written.
        """
        self.path = path
        self.lines, size = _kept(path, done)
        """Lines that were kept."""
        with storage_errors(path):
            # Not to be kept waiting by a pipe that nobody reads.
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
            self._file = os.fdopen(os.open(path, flags, 0o666), "ab", buffering=0)
            self._file.truncate(size)

    def write(self, record: dict[str, JSON]) -> None:
        """Append one line.

        Raises:
            StorageError: the disk is full.
        """
        line = as_line(record)
        with storage_errors(self.path):
            while line:
                line = line[self._file.write(line) :]

    def sync(self) -> None:
        """Have the disk hold all lines so far, so that a power cut loses none of them."""
        with storage_errors(self.path):
            sync_path(self.path)

    def close(self) -> None:
        """No line can be written after it."""
        self._file.close()


def as_line(record: dict[str, JSON]) -> bytes:
    """The line of a record."""
    return json.dumps(record).encode() + b"\n"


def read_lines(path: Path) -> Iterator[dict[str, JSON]]:
    """The records of a file; a last line that is half written is not one."""
    if path.is_file():
        with path.open("rb") as file:
            yield from (json.loads(line) for line in file if line.endswith(b"\n"))


def _kept(path: Path, done: int) -> tuple[int, int]:
    """How many lines at the start of the file are whole and up to step `done`, and their bytes."""
    lines = size = 0
    if done and path.is_file():
        with path.open("rb") as file:
            for line in file:
                step = _step_of(line)
                if step is None or step > done:
                    break
                lines, size = lines + 1, size + len(line)
    return lines, size


def _step_of(line: bytes) -> int | None:
    """The step that a line names; None if a kill or a power cut left it half written."""
    if not line.endswith(b"\n"):
        return None
    try:
        step = json.loads(line)["step"]
    except (KeyError, TypeError, ValueError):
        return None
    return step if isinstance(step, int) else None
