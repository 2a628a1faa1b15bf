"""The fork server's own process.

python -m retort.core.forks.server LISTENER OWNER MODULE...
"""

import atexit
import gc
import importlib
import io
import os
import runpy
import selectors
import shutil
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from retort.core.forks.parent_death import die_with
from retort.core.forks.protocol import Request, receive_request, send_number
from retort.core.signals import SIGNALS, imported, starting


def main(arguments: Sequence[str]) -> None:
    """Import, and serve; in a forked process, be what was asked for."""
    listener, owner = (socket.socket(fileno=int(number)) for number in arguments[:2])
    # A new process hears none until it can (`starting`).
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    gc.disable()
    for module in arguments[2:]:
        # Whoever runs it imports it again, and says why it cannot be.
        with suppress(Exception):
            importlib.import_module(module)
    imported()  # the collector would touch, and so copy, what is shared
    address = Path(listener.getsockname())
    request = _Server(listener, owner).serve()
    if request is None:
        shutil.rmtree(address.parent, ignore_errors=True)
    else:
        _become(request)


class _Server:
    """Forks as it is asked to, tells how each process ended, and ends those nobody waits for."""

    def __init__(self, listener: socket.socket, owner: socket.socket) -> None:
        self._number = os.getpid()
        self._listener, self._owner = listener, owner
        self._woken, waking = socket.socketpair()
        self._waking = waking
        for one in (self._woken, waking):
            one.setblocking(False)
        self._selector = selectors.DefaultSelector()
        for each in (listener, owner, self._woken):
            self._selector.register(each, selectors.EVENT_READ)
        self._running: dict[socket.socket, int] = {}
        self._told: dict[socket.socket, int] = {}

    def serve(self) -> Request | None:
        """Fork until the owner has ended, which is None; in a forked process, what it is to be."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._waking.fileno(), warn_on_full_buffer=False)
        while True:
            for key, _ in self._selector.select():
                ready = key.fileobj
                assert isinstance(ready, socket.socket)
                if ready is self._owner:
                    self._end_all()
                    return None
                if ready is self._listener:
                    request = self._accept()
                    if request is not None:
                        return request
                elif ready is self._woken:
                    with suppress(BlockingIOError):
                        self._woken.recv(4096)
                else:
                    self._end(ready)
            self._tell()

    def _accept(self) -> Request | None:
        connection, _ = self._listener.accept()
        files: list[int] = []
        try:
            request, files = receive_request(connection)
            number = os.fork()
        except (OSError, EOFError):
            # Whoever asked is gone, or there is no room for a process: they start one themselves.
            connection.close()
        else:
            if number == 0:
                self._leave(connection, files)
                return request
            self._running[connection] = number
            self._selector.register(connection, selectors.EVENT_READ)
        for file in files:
            os.close(file)
        return None

    def _leave(self, connection: socket.socket, files: Sequence[int]) -> None:
        """Be a process of its own, in the child, and say that it is there."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        if not die_with(self._number):
            os._exit(1)
        self._selector.close()
        ours = (self._listener, self._owner, self._woken, self._waking)
        for each in (*ours, *self._running, *self._told):
            each.close()
        os.setsid()
        for standard, file in enumerate(files):
            os.dup2(file, standard)
            os.close(file)
        with connection:
            send_number(connection, os.getpid())

    def _tell(self) -> None:
        """Say to whoever waits how a process has ended. Its number stays taken until they know."""
        for connection, number in list(self._running.items()):
            flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
            ended = os.waitid(os.P_PID, number, flags)
            if ended is not None:
                code = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
                self._told[connection] = self._running.pop(connection)
                with suppress(OSError):
                    send_number(connection, code)

    def _end(self, connection: socket.socket) -> None:
        """Nobody waits for a process any more."""
        self._selector.unregister(connection)
        connection.close()
        if connection in self._running:
            number = self._running.pop(connection)
            _kill(number)
        else:
            number = self._told.pop(connection)
        os.waitpid(number, 0)

    def _end_all(self) -> None:
        for number in self._running.values():
            _kill(number)


def _kill(number: int) -> None:
    """Kill a process and what it has started, if it still runs."""
    try:
        os.killpg(number, signal.SIGKILL)
    except ProcessLookupError:
        os.kill(number, signal.SIGKILL)


def _become(request: Request) -> NoReturn:
    """Run the module as a new interpreter would, and end."""
    os.chdir(request.directory)
    os.umask(request.umask)
    os.environ.clear()
    os.environ.update(request.environment)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=sys.stdout.isatty())
    starting(quietly=request.quietly)
    gc.enable()  # nearly all has been imported, and the module may be anybody's
    sys.argv = request.command
    # It is run as what is typed, also if it has been imported.
    sys.modules.pop(request.command[0], None)
    try:
        runpy.run_module(request.command[0], run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = _exit_code(end)
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
        code = 1
        if isinstance(error, KeyboardInterrupt):
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGINT)
    _finish(code)


def _exit_code(end: SystemExit) -> int:
    if end.code is None or isinstance(end.code, int):
        return end.code or 0
    print(end.code, file=sys.stderr)
    return 1


def _finish(code: int) -> NoReturn:
    """End as an interpreter does, but leave objects as they are: to take apart what is shared with
    the server would copy all of it, which takes 0.3 s.

    A file that nobody has closed or flushed loses what its buffer holds, as in `multiprocessing`.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            code = 120  # as an interpreter whose output could not be written
    os._exit(code & 0xFF)


if __name__ == "__main__":
    main(sys.argv[1:])
