"""A command that goes on, whose lines a test waits for."""

import os
import threading
from collections.abc import Sequence
from typing import Self

from retort.core.forks.client import start


class Command:
    """A command that goes on, and what it says."""

    def __init__(self, command: Sequence[str], environment: dict[str, str]) -> None:
        self._said = threading.Condition()
        self.lines: list[str] = []
        out, errors = os.pipe(), os.pipe()
        self.process = start(command, environment, out[1], errors[1])
        self._readers = []
        for reading, writing in (out, errors):
            os.close(writing)
            reader = threading.Thread(target=self._read, args=(reading,), daemon=True)
            reader.start()
            self._readers.append(reader)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    def until(self, text: str) -> str:
        """The first line with a text, as soon as it is said."""
        with self._said:
            while True:
                for line in self.lines:
                    if text in line:
                        return line
                if not any(reader.is_alive() for reader in self._readers):
                    raise AssertionError(f"it ended without {text!r}: {self.lines}")
                self._said.wait()

    def end(self) -> int:
        """Its exit code, when it has ended and all was read."""
        code = self.process.wait()
        for reader in self._readers:
            reader.join()
        return code

    def _read(self, descriptor: int) -> None:
        with os.fdopen(descriptor, encoding="utf-8") as file:
            for line in file:
                with self._said:
                    self.lines.append(line.rstrip("\n"))
                    self._said.notify_all()
        with self._said:
            self._said.notify_all()
