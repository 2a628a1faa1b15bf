"""What a container says, into its log, as container runtimes write it (`retort.launch.cluster.logs.logs`)."""

import logging
import os
import selectors
import subprocess
import time
from collections import deque
from pathlib import Path
from typing import IO

_log = logging.getLogger("retort.launch")
_BLOCK = 1 << 16
_LONGEST = 16 << 10
"""Bytes of a record; a longer line is several."""
_LAST_LINES, _LAST_BYTES = 80, 2048
"""What of a log may be a container's last word (https://kubernetes.io/docs/tasks/debug/debug-application/)."""


class Output:
    """The log of one run.

    Args:
        file: made, with its directory.
    Raises:
        OSError: it cannot be written.
    """

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._path = file
        self._file: IO[bytes] | None = file.open("ab")
        self._last: deque[bytes] = deque(maxlen=_LAST_LINES)

    def read(self, process: "subprocess.Popen[bytes]") -> None:
        """Write what a process says until nobody can say more."""
        rests: dict[str, bytes] = {}
        with selectors.DefaultSelector() as selector:
            for name, pipe in (("stdout", process.stdout), ("stderr", process.stderr)):
                assert pipe is not None
                selector.register(pipe, selectors.EVENT_READ, name)
                rests[name] = b""
            # The pipes are closed with the process.
            while selector.get_map():
                for key, _ in selector.select():
                    name = key.data
                    block = os.read(key.fd, _BLOCK)
                    if block:
                        rests[name] = self._lines(name, rests[name] + block)
                        continue
                    if rests[name]:
                        self._record(name, b"P", rests[name])
                    selector.unregister(key.fileobj)

    def last(self) -> str:
        """The last lines of all."""
        return b"\n".join(self._last)[-_LAST_BYTES:].decode("utf-8", "replace")

    def close(self) -> None:
        """Keep what was written."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _lines(self, name: str, text: bytes) -> bytes:
        *whole, rest = text.split(b"\n")
        for line in whole:
            self._record(name, b"F", self._part(name, line))
        return self._part(name, rest)

    def _part(self, name: str, line: bytes) -> bytes:
        """Write a line as far as it is too long for one record."""
        while len(line) > _LONGEST:
            self._record(name, b"P", line[:_LONGEST])
            line = line[_LONGEST:]
        return line

    def _record(self, name: str, tag: bytes, text: bytes) -> None:
        self._last.append(text)
        if self._file is None:
            return
        seconds, rest = divmod(time.time_ns(), 10**9)
        moment = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest:09}Z"
        try:
            self._file.write(b"%s %s %s %s\n" % (moment.encode(), name.encode(), tag, text))
            self._file.flush()
        except OSError as error:
            # What runs goes on, though nobody keeps what it says.
            _log.error("%s: cannot be written: %s", self._path, error.strerror)
            self._file = None
