"""The processes of a model, as the server sees them: those that compute, and the one that keeps them alive."""

import asyncio
import logging
import os
import signal
import socket
import struct
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from retort.core.errors import RetortError, UserError
from retort.core.forks import client
from retort.serve.engine import frames
from retort.serve.engine.batching import WorkerLost
from retort.serve.engine.start import Start

_log = logging.getLogger(__name__)

_CREDENTIALS = struct.Struct("iii")
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 10.0
_SETTLED_SECONDS = 10.0
_LAST_WORDS_SECONDS = 1.0


class ModelRefused(UserError):
    """The model cannot be served; the message says why."""


class WorkerProcess:
    """A worker that is a process.

    Attributes:
        process: its number.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.process, _ = _peer(writer)
        self._answer: asyncio.Future[NDArray[np.float32]] | None = None

    def __str__(self) -> str:
        return f"process {self.process} of the model"

    async def listen(self) -> None:
        """Hear its answers until it is gone; whoever waits for one then gets `WorkerLost`."""
        try:
            while True:
                found = frames.probabilities_of(await frames.receive(self._reader))
                if self._answer is not None and not self._answer.done():
                    self._answer.set_result(found)
        except (EOFError, OSError):
            pass
        finally:
            self._writer.close()
            if self._answer is not None and not self._answer.done():
                self._answer.set_exception(WorkerLost())

    async def compute(
        self, texts: Sequence[NDArray[np.int64]], threads: int, patience: float
    ) -> NDArray[np.float32]:
        """As `retort.serve.engine.batching.Worker.compute`."""
        if self._writer.is_closing():
            raise WorkerLost
        self._answer = asyncio.get_running_loop().create_future()
        self._writer.write(frames.of_batch(texts, threads).bytes())
        try:
            async with asyncio.timeout(patience):
                return await self._answer
        except TimeoutError:
            _log.error("%s has been at one batch for %g seconds: it is ended", self, patience)
            with suppress(ProcessLookupError):
                os.kill(self.process, signal.SIGKILL)
            raise WorkerLost from None


class ModelProcesses:
    """The process of a model and its workers.

    Args:
        start, process: how the model's process is started, and that it was.
        seal: of the model.
        serve: called with each worker that comes, for as long as that lives.
    """

    def __init__(
        self,
        start: Start,
        process: client.Process,
        seal: str,
        serve: Callable[[WorkerProcess], Awaitable[None]],
    ) -> None:
        self._start, self._process, self._seal = start, process, seal
        self._serve = serve
        self._server: asyncio.Server | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._ready: asyncio.Future[None] | None = None
        self._working: set[asyncio.Task[None]] = set()
        self._workers: set[int] = set()

    @property
    def numbers(self) -> list[int]:
        """Of the processes, the model's first."""
        return [self._process.pid, *self._workers]

    async def __aenter__(self) -> "ModelProcesses":
        """Start, and wait until the model is loaded and tested, and one worker is there.

        Raises:
            ModelRefused: it cannot be.
        """
        self._ready = asyncio.get_running_loop().create_future()
        try:
            self._server = await asyncio.start_unix_server(
                self._connected, sock=self._start.listener
            )
            self._keeper = asyncio.create_task(self._keep())
            waiting: set[asyncio.Future[None]] = {self._ready, self._keeper}
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            await (self._ready if self._ready.done() else self._keeper)
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """End all of them."""
        await self._close()

    async def _close(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            with suppress(asyncio.CancelledError, RetortError):
                await self._keeper
        self._process.kill()  # and the workers with it
        self._process.wait()
        for task in tuple(self._working):
            task.cancel()
        await asyncio.gather(*self._working, return_exceptions=True)
        if self._server is not None:
            self._server.close()

    async def _keep(self) -> None:
        """Start the model's process again whenever it has died."""
        assert self._ready is not None
        pause, begun = 0.0, time.monotonic()
        while True:
            await _end_of(self._process.pid)
            code = self._process.wait()
            if not self._ready.done():
                # What it has said last may be on its way.
                await asyncio.wait({self._ready}, timeout=_LAST_WORDS_SECONDS)
            if not self._ready.done():
                raise RetortError(
                    "the model's process was killed before it was ready, perhaps for want of memory"
                    if code == -signal.SIGKILL
                    else f"the model's process ended with {code} before it was ready"
                )
            if self._ready.exception() is not None:
                return
            settled = time.monotonic() - begun > _SETTLED_SECONDS
            longer = min(max(_FIRST_PAUSE_SECONDS, 2 * pause), _LONGEST_PAUSE_SECONDS)
            pause = 0.0 if settled else longer
            _log.error("the model's process has ended with %d; it is started again", code)
            await asyncio.sleep(pause)
            begun = time.monotonic()
            self._process = self._start.start(self._seal)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None and self._ready is not None
        self._working.add(task)
        try:
            if _peer(writer)[1] != os.getuid():
                return  # anybody on this machine can knock
            said = (await frames.receive(reader)).said
            if said.get("seal") == self._seal:
                if not self._ready.done():
                    self._ready.set_result(None)
                await self._serve_worker(WorkerProcess(reader, writer))
                return
            why = said.get("refused", f"{self._start.checkpoint}: has become another model")
            if self._ready.done():
                _log.error("the model cannot be loaded again: %s", why)
            else:
                self._ready.set_exception(ModelRefused(why))
            await reader.read(1)
        except (EOFError, OSError):
            pass
        except asyncio.CancelledError:
            pass  # asyncio's own callback of a stream would log it
        finally:
            self._working.discard(task)
            writer.close()

    async def _serve_worker(self, worker: WorkerProcess) -> None:
        self._workers.add(worker.process)
        try:
            await self._serve(worker)
        finally:
            self._workers.discard(worker.process)


async def _end_of(process: int) -> None:
    """Wait until a process is to be waited for, in no other thread: two that wait for one take it from each other."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    try:
        number = os.pidfd_open(process)
    except ProcessLookupError:
        return
    loop.add_reader(number, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(number)
        os.close(number)


def _peer(writer: asyncio.StreamWriter) -> tuple[int, int]:
    """The process and the user at the other end."""
    connection: socket.socket = writer.get_extra_info("socket")
    told = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    process, user, _ = _CREDENTIALS.unpack(told)
    return process, user
