"""Starting processes by fork, where somebody has seen to a server."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import IO, Self

from retort.core.forks.parent_death import QUIETLY
from retort.core.forks.protocol import Request, receive_number, send_request

ADDRESS = "RETORT_FORK_SERVER"
"""The variable that tells a process where its server listens."""
# A driver that was asked anything, and be it for the number of its devices, is of no use after a fork.
_ACCELERATORS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
# Of an address the kernel takes 107 bytes, of which the names below are a few.
_LONGEST_DIRECTORY = 80


@contextmanager
def fork_server(*modules: str, **environment: str) -> Iterator[None]:
    """Have this process, and those that it starts, start Python modules by fork (`start`).

    Does nothing where there is a server already, or an accelerator, whose driver does not survive a
    fork.

    Args:
        modules: imported by the server, while this process goes on.
        environment: variables that libraries read while they are imported, beside those of this
            process.
    """
    if ADDRESS in os.environ or sys.platform != "linux" or any(map(os.path.exists, _ACCELERATORS)):
        yield
        return
    temporary = tempfile.gettempdir()
    with tempfile.TemporaryDirectory(
        prefix="retort-", dir=temporary if len(temporary) < _LONGEST_DIRECTORY else "/tmp"
    ) as directory:
        address = os.path.join(directory, "forks")
        owner, owned = socket.socketpair()
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(address)  # the directory is nobody else's
            listener.listen()
            numbers = (listener.fileno(), owned.fileno())
            server = subprocess.Popen(
                [sys.executable, "-m", "retort.core.forks.server", *map(str, numbers), *modules],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env={**os.environ, **environment},
                pass_fds=numbers,
                start_new_session=True,
            )
        owned.close()
        os.environ[ADDRESS] = address
        try:
            yield
        finally:
            del os.environ[ADDRESS]
            owner.close()
            server.kill()  # it may import still
            server.wait()


class Forked:
    """A process of a fork server, with what is used here of `subprocess.Popen`.

    Attributes:
        pid: its number, and that of its session and process group.
        returncode: None while it runs; negative where a signal has ended it.
    """

    def __init__(self, args: Sequence[str], connection: socket.socket) -> None:
        self.args = list(args)
        self.returncode: int | None = None
        self._connection = connection
        self.pid = receive_number(connection)

    def poll(self) -> int | None:
        """The exit code; None while it runs."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0.0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end.

        Raises:
            subprocess.TimeoutExpired: it still runs after so many seconds.
        """
        if self.returncode is None:
            self._connection.settimeout(timeout)
            try:
                self.returncode = receive_number(self._connection)
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired(self.args, timeout or 0.0) from None
            except (EOFError, ConnectionError):
                # The server has been killed, and this process with it.
                self.returncode = -signal.SIGKILL
            self._connection.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it still runs."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        """Wait for it, as `subprocess.Popen` does."""
        self.wait()


Process = Forked | subprocess.Popen[bytes]
File = int | IO[bytes] | IO[str] | None


def start(
    command: Sequence[str],
    environment: Mapping[str, str] = os.environ,
    stdout: File = None,
    stderr: File = None,
    *,
    quietly: bool = False,
) -> Process:
    """Start a module in a session of its own: by fork if a server is there, otherwise anew.

    It does not outlive this process.

    Args:
        command: the module and its arguments.
        stdout: this process's own by default.
        quietly: asked to stop, it leaves the words to this process.
    """
    address = os.environ.get(ADDRESS)
    if address is not None:
        with suppress(OSError):
            return _fork(address, command, environment, (None, stdout, stderr), quietly)
    parent = ["retort.core.forks.parent_death", str(os.getpid()), *([QUIETLY] if quietly else [])]
    return subprocess.Popen(
        [sys.executable, "-m", *parent, *command],
        env=environment,
        stdout=stdout,
        stderr=stderr,
        start_new_session=True,
    )


class Captured:
    """A process of `start`, and what it says.

    Attributes:
        process: it.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str] = os.environ,
        *,
        quietly: bool = False,
    ) -> None:
        self._stdout, self._stderr = _memory(), _memory()
        self.process = start(command, environment, self._stdout, self._stderr, quietly=quietly)

    def wait(self) -> subprocess.CompletedProcess[str]:
        """Wait for its end; if that is interrupted, it ends as well."""
        try:
            code = self.process.wait()
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise
        said = []
        for file in (self._stdout, self._stderr):
            with file:
                file.seek(0)
                said.append(file.read())
        return subprocess.CompletedProcess(self.process.args, code, *said)


def run(
    command: Sequence[str], environment: Mapping[str, str] = os.environ, *, quietly: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run a module to its end, as `start` does, and keep what it says."""
    return Captured(command, environment, quietly=quietly).wait()


def _memory() -> IO[str]:
    """A file that needs no disk, where the system has such."""
    number = os.memfd_create("output") if hasattr(os, "memfd_create") else None
    if number is None:
        return tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
    return open(number, "w+", encoding="utf-8", errors="replace")


def _fork(
    address: str,
    command: Sequence[str],
    environment: Mapping[str, str],
    files: tuple[File, File, File],
    quietly: bool,
) -> Forked:
    umask = os.umask(0o077)
    os.umask(umask)
    request = Request(list(command), dict(environment), os.getcwd(), umask, quietly)
    numbers = [
        standard if file is None else file if isinstance(file, int) else file.fileno()
        for standard, file in enumerate(files)
    ]
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(address)
        send_request(connection, request, numbers)
        return Forked([sys.executable, "-m", *command], connection)
    except (OSError, EOFError) as error:
        connection.close()
        raise OSError(f"{address}: no fork server answers") from error
