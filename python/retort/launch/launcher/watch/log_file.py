"""What all pods of a job have said, in a file beside its run, each line once and with its time.

2026-01-31T12:00:00.000000000Z news-worker-0 the line
"""

import os
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from retort.core.atomic import storage_errors
from retort.core.errors import one_line
from retort.core.locks import take_lock

_LONGEST = 1 << 20
"""Bytes of a line."""
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class LogLine:
    """
    Attributes:
        time: as the container's machine has it (RFC 3339), by which lines of a pod are ordered.
        text: without what steers a terminal.
    """

    time: str
    pod: str
    text: str

    def __str__(self) -> str:
        return f"{self.time} {self.pod} {self.text}"


def log_line(pod: str, raw: bytes) -> LogLine:
    """A line of the API server's, with its time before it."""
    time, _, text = raw.decode("utf-8", "replace").rstrip("\r\n").partition(" ")
    return LogLine(time, pod, one_line(_COLOURS.sub("", text)))


class LogFile:
    """Appends lines that it does not have yet. Any thread may; one process at a time does."""

    def __init__(self, path: Path | None) -> None:
        """
        Args:
            path: None keeps lines in memory alone, to tell which were there.
        Raises:
            StorageError: it cannot be written.
        """
        self.path = path
        self._lock = threading.Lock()
        self._last: dict[str, tuple[str, set[str]]] = {}
        self._file = None
        if path is not None:
            for line in read_log(path):
                self._is_new(line)
            with storage_errors(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                self._file = _opened(path)

    def add(self, line: LogLine) -> bool:
        """Keep a line.

        Returns:
            Whether it was not there yet.
        Raises:
            StorageError: the disk is full.
        """
        with self._lock:
            if not self._is_new(line):
                return False
            if self._file is not None and self.path is not None:
                with storage_errors(self.path):
                    self._file.write(f"{line}\n".encode())
            return True

    def since(self, pod: str) -> str:
        """The time of the last line of a pod; empty if it has none."""
        with self._lock:
            return self._last.get(pod, ("", set()))[0]

    def close(self) -> None:
        """No line can be added after it."""
        if self._file is not None:
            os.fsync(self._file.fileno())
            self._file.close()

    def _is_new(self, line: LogLine) -> bool:
        time, texts = self._last.get(line.pod, ("", set()))
        if line.time < time or (line.time == time and line.text in texts):
            return False
        self._last[line.pod] = (line.time, {line.text, *(texts if line.time == time else ())})
        return True


def _opened(path: Path) -> FileIO | None:
    """The file to append to; None if another process does."""
    try:
        descriptor = take_lock(path, make=True)
    except BlockingIOError:
        return None
    file = os.fdopen(descriptor, "r+b", buffering=0)
    size = file.seek(0, os.SEEK_END)
    start = file.seek(max(0, size - _LONGEST))
    # A line that a kill has left half written would swallow the next.
    file.truncate(start + file.read(_LONGEST).rfind(b"\n") + 1)
    file.seek(0, os.SEEK_END)
    return file


def read_log(path: Path) -> Iterator[LogLine]:
    """The lines of a file; none if it is not there. A line that is half written is not one."""
    if path.is_file():
        with path.open("rb") as file:
            for raw in file:
                parts = raw.decode("utf-8", "replace").rstrip("\n").split(" ", 2)
                if raw.endswith(b"\n") and len(parts) == 3:
                    yield LogLine(*parts)
