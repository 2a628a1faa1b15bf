"""A program run in processes of its own, and what it took of the machine."""

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

_SAMPLED_EVERY = 0.1


@dataclass(frozen=True)
class Usage:
    """What a program took, with all of its processes.

    Attributes:
        seconds: from its start to its end.
        cpu_seconds: user's and system's.
        memory: most bytes that were resident at a time, pages that processes share counted once
            (PSS), asked for ten times a second; 0 if it was not watched.
    """

    seconds: float
    cpu_seconds: float
    memory: int


def python(module: str, *arguments: object) -> list[str]:
    """The command that runs a module with this interpreter."""
    return [sys.executable, "-m", module, *map(str, arguments)]


def importing() -> dict[str, str]:
    """The environment of a process that can import what this one can, under Bazel too."""
    paths = (os.path.abspath(entry) for entry in sys.path)
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths)}


def run_measured(command: Sequence[str], *, watch: bool = True) -> tuple[Usage, str]:
    """Run a command in an empty directory, which is its home too.

    Args:
        watch: whether to look at its memory, which takes a little time from it.
    Returns:
        What it took, and its standard output.
    Raises:
        RuntimeError: it failed; the end of what it said is there.
    """
    with tempfile.TemporaryDirectory(prefix="retort-home-") as home:
        return _run_at(Path(home), command, watch=watch)


def _run_at(home: Path, command: Sequence[str], *, watch: bool) -> tuple[Usage, str]:
    log = home / "stderr.txt"
    environment = importing() | {
        "HOME": str(home),
        "HF_HOME": str(home / "hub"),
        "HF_HUB_OFFLINE": "1",
    }
    os.sync()  # what was written before is not written back meanwhile
    start = time.perf_counter()
    with log.open("wb") as stderr, (home / "stdout.txt").open("w+b") as stdout:
        process = subprocess.Popen(command, cwd=home, env=environment, stdout=stdout, stderr=stderr)
        with _MemoryWatch(process.pid) if watch else nullcontext() as watched:
            _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        stdout.seek(0)
        said = stdout.read().decode("utf-8")
    if process.returncode:
        end = log.read_text(encoding="utf-8", errors="replace")[-4000:]
        raise RuntimeError(f"{' '.join(command)}\nended with {process.returncode}:\n{end}")
    return Usage(seconds, used.ru_utime + used.ru_stime, watched.most if watched else 0), said


class _MemoryWatch:
    """Looks at the memory of a process and its descendants until it is left."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.most = 0

    def __enter__(self) -> "_MemoryWatch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        before = 0
        while not self._over.wait(_SAMPLED_EVERY):
            # The lower of two neighbours: a child between vfork and exec shows its parent's memory.
            now = sum(map(_resident, _tree(self._root)))
            self.most = max(self.most, min(before, now))
            before = now


def _tree(process: int) -> Iterator[int]:
    """A process and its descendants, as far as they are still there."""
    yield process
    for file in Path(f"/proc/{process}/task").glob("*/children"):
        try:
            children = file.read_text().split()
        except OSError:
            continue
        for child in children:
            yield from _tree(int(child))


def _resident(process: int) -> int:
    """Its share of resident memory in bytes; none if it has ended."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)
