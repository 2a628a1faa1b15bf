"""A server in a process of its own, that says in a line when it is ready."""

import os
import queue
import re
import threading
from collections.abc import Sequence
from typing import Self

from retort.core.forks.client import start


class ReadyProcess:
    """A module and its arguments, started; it is here when it is ready, and ends with the block.

    Attributes:
        process: it.
        lines: what it has said on standard error.
        ready: the line of these that begins with "ready: ".
    """

    def __init__(self, command: Sequence[str]) -> None:
        said, says = os.pipe()
        self.process = start(command, stderr=says)
        os.close(says)
        self._said = os.fdopen(said, encoding="utf-8")
        self.lines: list[str] = []
        self._ready: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.ready = self._ready.get()
        if not self.ready:
            raise AssertionError(f"{command[0]} did not start: {self.lines}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def url(self) -> str:
        """Where it answers."""
        found = re.search(r"https?://[\d.]+:\d+", self.ready)
        assert found, self.ready
        return found.group()

    def kill(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def wait(self) -> tuple[int, list[str]]:
        """Its exit code, and what it said after it was ready."""
        code = self.process.wait()
        self._reader.join()
        return code, self.lines[self.lines.index(self.ready) + 1 :]

    def _read(self) -> None:
        with self._said:
            for line in self._said:
                self.lines.append(line.rstrip("\n"))
                if line.startswith("ready: "):
                    self._ready.put(self.lines[-1])
        self._ready.put("")
