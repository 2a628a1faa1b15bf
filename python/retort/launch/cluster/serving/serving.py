"""Listening on loopback, with TLS, in a thread."""

import asyncio
import ipaddress
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import uvicorn

from retort.core.errors import UserError
from retort.launch.cluster.api.app import create_app
from retort.launch.cluster.api.streams import Closing
from retort.launch.cluster.objects.registry import Registry
from retort.launch.cluster.serving.credentials import Credentials

_BACKLOG = 1024
_IDLE_S = 90
_LOOK_S = 0.05
_LAST_ANSWERS_S = 10


def bind(host: str, port: int) -> socket.socket:
    """A socket on an address of this machine that no other machine reaches.

    Args:
        port: 0 takes a free one.
    Raises:
        UserError: the address is another, or cannot be had.
    """
    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        address = ipaddress.ip_address("0.0.0.0")
    if not address.is_loopback:
        raise UserError(
            f"--host {host}: this cluster is for development, and listens where only this machine "
            "reaches it; give 127.0.0.1 or ::1"
        )
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((str(address), port))
        bound.listen(_BACKLOG)
    except OSError as error:
        bound.close()
        raise UserError(
            f"cannot listen on {address}:{port}: {error.strerror}; choose another --port"
        ) from error
    return bound


def url(bound: socket.socket) -> str:
    """Where clients reach a socket."""
    host, port = bound.getsockname()[:2]
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"


class Serving:
    """The API server, from when this returns until `close`.

    Attributes:
        url: where it answers.
        ended: set when it answers no more, for whatever reason.
    """

    def __init__(
        self, registry: Registry, logs: Path, bound: socket.socket, found: Credentials
    ) -> None:
        self.url = url(bound)
        self.ended = threading.Event()
        self._closing = Closing()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._started = threading.Event()
        config = uvicorn.Config(
            create_app(registry, logs, found.token, self._closing),
            ssl_certfile=found.certificate,
            ssl_keyfile=found.key,
            loop="asyncio",
            http="h11",
            ws="none",
            lifespan="off",
            interface="asgi3",
            backlog=_BACKLOG,
            log_config=None,
            log_level="error",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=_IDLE_S,
            timeout_graceful_shutdown=_LAST_ANSWERS_S,
        )
        self._server = _Server(config, self._begin)
        self._thread = threading.Thread(
            target=self._run, args=(bound,), name="api-server", daemon=True
        )
        self._thread.start()
        self._started.wait()

    def close(self) -> None:
        """End watches, answer what has begun, and stop."""
        loop = self._loop
        if loop is not None and not self.ended.is_set():
            self._server.should_exit = True
            loop.call_soon_threadsafe(self._closing.begin)
        self._thread.join()

    def _run(self, bound: socket.socket) -> None:
        try:
            self._server.run([bound])
        finally:
            self.ended.set()
            self._started.set()
            bound.close()

    def _begin(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._started.set()


class _Server(uvicorn.Server):
    """uvicorn's, which says when it has begun."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        ending = asyncio.create_task(self._end_idle())
        try:
            await super().shutdown(sockets)
        finally:
            ending.cancel()

    async def _end_idle(self) -> None:
        """Break connections off that have had their answer: a client that keeps one for later does not read, and
        so never agrees to its end."""
        while True:
            for connection in list(self.server_state.connections):
                cycle = getattr(connection, "cycle", None)
                transport = connection.transport
                if cycle is not None and not cycle.response_complete:
                    continue
                if transport is not None and not transport.get_write_buffer_size():
                    transport.abort()
            await asyncio.sleep(_LOOK_S)
