"""Listening, saying so, and ending: uvicorn with a drain that tells those who ask."""

import socket
import time
from collections.abc import Callable
from types import FrameType

import uvicorn
from fastapi import FastAPI

from retort.core.errors import UserError
from retort.serve.drain import Drain

_BACKLOG = 1024
_LAST_RESPONSES_SECONDS = 2


class DrainingServer(uvicorn.Server):
    """Ends in two steps when it gets SIGTERM or SIGINT.

    At first it keeps listening, so that `/health` can say that it is draining and new requests
    can be told to go elsewhere, until every request that it has begun is answered. Then it closes.
    A second signal, or `drain_seconds`, ends the first step early.
    """

    def __init__(
        self, app: FastAPI, drain: Drain, *, drain_seconds: float, on_ready: Callable[[], None]
    ) -> None:
        # Everything that uvicorn would otherwise choose by what happens to be installed is named.
        config = uvicorn.Config(
            app,
            http="h11",
            loop="asyncio",
            ws="none",
            lifespan="off",
            interface="asgi3",
            backlog=_BACKLOG,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=_LAST_RESPONSES_SECONDS,
        )
        super().__init__(config)
        self._drain = drain
        self._drain_seconds = drain_seconds
        self._deadline = float("inf")
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._drain.begun:
            self.should_exit = self.force_exit = True
            return
        self._drain.begun = True
        self._deadline = time.monotonic() + self._drain_seconds

    async def on_tick(self, counter: int) -> bool:
        drained = self._drain.begun and self._drain.in_flight == 0
        return await super().on_tick(counter) or drained or time.monotonic() > self._deadline


def bind(host: str, port: int) -> socket.socket:
    """A socket that holds the address but does not listen yet: nobody waits on a loading server.

    Raises:
        UserError: the address cannot be had.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except (OSError, UnicodeError) as error:
        raise _unusable(host, port, error) from error
    return bound


def listen(bound: socket.socket) -> None:
    """Begin to accept connections.

    Raises:
        UserError: another server has bound the same address meanwhile and listens.
    """
    host, port = bound.getsockname()[:2]
    try:
        bound.listen(_BACKLOG)
    except OSError as error:
        raise _unusable(host, port, error) from error


def url(bound: socket.socket) -> str:
    """Where a program on this machine reaches the socket."""
    host, port = bound.getsockname()[:2]
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


def _unusable(host: str, port: int, error: Exception) -> UserError:
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return UserError(f"cannot listen on {host}:{port}: {reason}; choose another --host or --port")
