"""A real Ray cluster of several node processes on this machine, any of which can be killed."""

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

_PR_SET_PDEATHSIG = 1
_STORE_BYTES = 100_000_000
_DEADLINE = 300.0
Done = subprocess.CompletedProcess[str]
CONTROL = "gcs_server"
READING = b"ray::read_as_task"


class TinyNode:
    """A node: all processes of the session that its `ray start` leads."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        with log.open("wb") as file:
            self._leader = subprocess.Popen(
                command,
                env=environment,
                stdout=file,
                stderr=file,
                start_new_session=True,
                preexec_fn=_end_with_parent,  # noqa: PLW1509 (no threads are here)
            )
        self.log = log

    def processes(self) -> list[int]:
        """The numbers of its living processes."""
        found = []
        for path in Path("/proc").iterdir():
            with suppress(OSError, ValueError):
                if os.getsid(int(path.name)) == self._leader.pid:
                    found.append(int(path.name))
        return found

    def kill_control(self) -> None:
        """kill -9 of a head's control service; its other processes are kept from ending for that.

        So it looks from another machine when that of the head is switched off.
        """
        self._leader.send_signal(signal.SIGSTOP)
        for number in self.processes():
            if Path(f"/proc/{number}/comm").read_text().strip() == CONTROL:
                os.kill(number, signal.SIGKILL)

    def is_reading(self) -> bool:
        """Whether one of its processes has a piece in hand; Ray names them so."""
        titles = []
        for number in self.processes():
            with suppress(OSError):
                titles.append(Path(f"/proc/{number}/cmdline").read_bytes())
        return any(title.startswith(READING) for title in titles)

    def ended(self) -> bool:
        """Whether its leader has gone."""
        return self._leader.poll() is not None

    def kill_while_reading(self) -> None:
        """As `kill`, when it certainly has a piece in hand."""
        reading = False
        while not reading:
            wait_until(self.is_reading, f"{self.log}: reads nothing")
            self._signal(signal.SIGSTOP)
            reading = self.is_reading()
            if not reading:
                self._signal(signal.SIGCONT)
        self.kill()

    def kill(self) -> None:
        """kill -9 of everything at once, as when a machine is switched off."""
        while alive := [one for one in self.processes() if not _is_dead(one)]:
            self._signal(signal.SIGKILL, alive)
            self._leader.poll()
        self._leader.wait()

    def _signal(self, kind: signal.Signals, processes: Sequence[int] | None = None) -> None:
        for number in self.processes() if processes is None else processes:
            with suppress(ProcessLookupError):
                os.kill(number, kind)


class TinyCluster:
    """A head without cores, and nodes of one core each; all are gone when the block is left.

    Attributes:
        address: HOST:PORT of the head.
        environment: of a process that may use the cluster.
        nodes: all but the head.
    """

    def __init__(self) -> None:
        # The paths of sockets have to be short.
        self._directory = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))
        self.nodes: list[TinyNode] = []
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.address = f"127.0.0.1:{port}"
        self.environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": uuid.uuid4().hex,
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_health_check_period_ms": "1000",  # a node that is dead is soon found to be
        }
        self.head = self._start(
            ["--head", f"--port={port}", "--num-cpus=0", "--include-dashboard=false"]
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for node in (*self.nodes, self.head):
            node.kill()
        shutil.rmtree(self._directory, ignore_errors=True)

    def add_node(self, first_on_path: Path | None = None) -> TinyNode:
        """Add a node; it imports what it finds in a directory before all else."""
        wait_until(self._head_answers, f"{self.head.log}: no head")
        node = self._start([f"--address={self.address}", "--num-cpus=1"], first_on_path)
        self.nodes.append(node)
        return node

    def _start(self, options: Sequence[str], first_on_path: Path | None = None) -> TinyNode:
        name = f"n{len(self.nodes)}" if "--head" not in options else "head"
        environment = dict(self.environment)
        if first_on_path is not None:
            environment["PYTHONPATH"] = os.pathsep.join([str(first_on_path), *sys.path])
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block"]
        command += ["--include-log-monitor=false", "--min-worker-port=0", "--max-worker-port=0"]
        command += [f"--object-store-memory={_STORE_BYTES}", "--num-gpus=0"]
        command += [f"--temp-dir={self._directory / name}", *options]
        return TinyNode(command, environment, self._directory / f"{name}.log")

    def _head_answers(self) -> bool:
        host, port = self.address.split(":")
        with suppress(OSError):
            socket.create_connection((host, int(port)), 1).close()
            return True
        assert not self.head.ended(), self.head.log.read_text()
        return False


class Driver:
    """A process that makes a store on a cluster, while the test does something to either."""

    def __init__(self, command: list[str], out: Path, cluster: TinyCluster) -> None:
        self._work = out.with_name(f".{out.name}.work")
        self.process = subprocess.Popen(
            command,
            env=cluster.environment,
            preexec_fn=_end_with_parent,  # noqa: PLW1509 (no threads are here)
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def chunks(self) -> int:
        """How many chunks it has taken; none is left when it has ended well."""
        return len(list(self._work.glob("*.tokens")))

    def reaches(self, condition: Callable[[], bool]) -> bool:
        """Wait until it has taken chunks, and a condition is true; whether that came before its
        end."""
        running = self.process
        try:
            wait_until(
                lambda: (self.chunks() >= 2 and condition()) or running.poll() is not None,
                "nothing is read",
            )
        except BaseException:
            running.kill()
            raise
        return running.poll() is None

    def wait_until(self, condition: Callable[[], bool] = lambda: True) -> None:
        """Wait until it has taken chunks, and a condition is true; it must not have ended."""
        assert self.reaches(condition), self.process.communicate()

    def end(self) -> Done:
        """Wait for its end."""
        output, errors = self.process.communicate()
        return subprocess.CompletedProcess([], self.process.returncode, output, errors)


def wait_until(condition: Callable[[], bool], otherwise: str) -> None:
    """Wait for a condition that must come true."""
    end = time.monotonic() + _DEADLINE
    while not condition():
        assert time.monotonic() < end, otherwise
        time.sleep(0.02)


def _is_dead(process: int) -> bool:
    """Whether a process is a zombie or has gone."""
    with suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return True


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
