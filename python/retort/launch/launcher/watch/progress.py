"""How far a run is, from its directory or, where that is not reached, from what its pods say."""

import re

from retort.launch.launcher.seen.runs import Progress, RunDirectory
from retort.launch.launcher.watch.log_file import LogLine

_STEP = re.compile(r"(?:^|\s)step (\d+)/(\d+)\s+loss (\S+)")
_SEAL = re.compile(r"^seal (sha256:[0-9a-f]{64}) (\S+)$")


class RunSeen:
    """
    Attributes:
        seal: seal and path that a pod has ended with.
        lines: how many of all pods there were.
    """

    def __init__(self, run: RunDirectory | None) -> None:
        self.run = run
        self.seal: tuple[str, str] | None = None
        self.lines = 0
        self._said: Progress | None = None

    def read(self, line: LogLine) -> None:
        """Take from a line what it tells."""
        self.lines += 1
        if match := _STEP.search(line.text):
            loss = match[3]
            number = float(loss) if re.fullmatch(r"[0-9.]+", loss) else None
            self._said = Progress(int(match[1]), int(match[2]), number)
        elif match := _SEAL.match(line.text):
            self.seal = (match[1], match[2])

    def progress(self) -> Progress | None:
        """The last that is known."""
        written = None if self.run is None else self.run.progress()
        if written is None:
            return self._said
        if written.steps is None and self._said is not None:
            return Progress(written.step, self._said.steps, written.loss)
        return written
