"""Saying that it is ready, and ending: uvicorn with a drain that tells those who ask."""

import asyncio
import select
import signal
import socket
import time
from collections.abc import Callable
from types import FrameType

import uvicorn
from fastapi import FastAPI

from retort.serve.listening import BACKLOG
from retort.serve.protocols.connection import Connection, EdgeConfig, Limits
from retort.serve.protocols.drain import Drain
from retort.serve.protocols.problem import CLOSE

_ACCEPTED_AT_ONCE = 4
"""Connections for each turn of the event loop, so that it sees how many there are in time."""
_LAST_RESPONSES_SECONDS = 2
_LAST_WORDS_SECONDS = 0.1
"""In which whoever is cut off is noticed to be gone."""


class DrainingServer(uvicorn.Server):
    """Ends in three steps when it gets SIGTERM.

    For `drain_seconds` it is not ready, as `/ready` says, but answers as before: whoever sends
    requests here has the time to learn that it should not. Then it takes every connection that had
    been made, and no more, and answers for `finish_seconds` what it has begun. What is left is
    told so, and cut off.

    SIGINT and SIGHUP, which come from a terminal, begin with the second step. Another signal ends the
    step that it comes in.
    """

    def __init__(
        self,
        app: FastAPI,
        drain: Drain,
        limits: Limits,
        *,
        drain_seconds: float,
        finish_seconds: float,
        on_ready: Callable[[], None],
    ) -> None:
        # Everything that uvicorn would otherwise choose by what happens to be installed is named.
        config = EdgeConfig(
            app,
            limits,
            loop="asyncio",
            ws="none",
            lifespan="off",
            interface="asgi3",
            backlog=_ACCEPTED_AT_ONCE,
            log_config=None,
            log_level="error",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            headers=[("x-content-type-options", "nosniff")],
            timeout_graceful_shutdown=_LAST_RESPONSES_SECONDS,
        )
        super().__init__(config)
        self._drain = drain
        self._drain_seconds = drain_seconds
        self._finish_seconds = finish_seconds
        self._listen_until = self._finish_until = float("inf")
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listener in sockets or ():
            listener.listen(BACKLOG)  # asyncio has made it as short as what it accepts at once
        self._on_ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if not self._drain.begun:
            self._drain.begun = True
            self._listen_until = now + (self._drain_seconds if sig == signal.SIGTERM else 0)
        elif self._is_listening:
            self._listen_until = now
        else:
            self.should_exit = self.force_exit = True

    async def on_tick(self, counter: int) -> bool:
        if await super().on_tick(counter):
            return True
        if not self._drain.begun:
            return False
        if CLOSE not in self.config.encoded_headers:
            self.config.encoded_headers.append(CLOSE)
            self.server_state.default_headers.append(CLOSE)
        if self._is_listening and time.monotonic() >= self._listen_until:
            await self._stop_listening()
            self._finish_until = time.monotonic() + self._finish_seconds
        if self._is_listening:
            return False
        is_owed = any(
            isinstance(one, Connection) and one.is_owed for one in self.server_state.connections
        )
        return not is_owed or time.monotonic() >= self._finish_until

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End what is left: uvicorn would cancel it wherever it stands, and call that a bug."""
        for one in tuple(self.server_state.connections):
            if isinstance(one, Connection):
                one.cut_off()
        await asyncio.sleep(_LAST_WORDS_SECONDS)
        for task in tuple(self.server_state.tasks):
            task.cancel()
        await super().shutdown(sockets)

    @property
    def _is_listening(self) -> bool:
        return self._finish_until == float("inf")

    async def _stop_listening(self) -> None:
        """Close the listeners once every connection that the system has made was taken over."""
        pending = select.poll()
        for server in self.servers:
            for listener in server.sockets:
                pending.register(listener.fileno(), select.POLLIN)
        # One turn of the loop accepts a connection, the next one makes it ours.
        quiet = 0
        for _ in range(BACKLOG):
            quiet = 0 if pending.poll(0) else quiet + 1
            if quiet == 3:
                break
            await asyncio.sleep(0)
        for server in self.servers:
            server.close()
