"""A server over a model that the test holds still, on a real socket in a thread of this process."""

import asyncio
import queue
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Self

import httpx

from retort.models.predict import Prediction
from retort.serve.engine.single import WorkerEngine
from retort.serve.protocols.connection import Limits
from retort.serve.protocols.drain import Drain
from retort.serve.protocols.predict import ServedModel, create_app
from retort.serve.server import DrainingServer, bind, listen, url

GENEROUS = Limits(connections=64, receive_seconds=3600, idle_seconds=3600)
MODEL = ServedModel("sha256:" + "0" * 64, ("sport", "tech"))


class Held(WorkerEngine):
    """The real engine over a function that waits for permission, telling what reaches it."""

    def __init__(self, queue_size: int) -> None:
        self.asked: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.given_up: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.begun: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.allowed = threading.Event()
        self.computed: list[str] = []
        super().__init__(lambda: None, self._hold, queue_size=queue_size)

    async def predict(self, text: str) -> Prediction:
        self.asked.put(text)
        try:
            return await super().predict(text)
        except BaseException:
            self.given_up.put(text)
            raise

    def _hold(self, text: str) -> Prediction:
        self.begun.put(text)
        self.allowed.wait()
        self.computed.append(text)
        if text == "fail":
            raise RuntimeError("secret inner detail")
        if text == "die":
            raise SystemExit
        return Prediction("sport", 0.5)


class Serving:
    """A server in a thread of this process, on a real socket."""

    def __init__(
        self,
        *,
        drain_seconds: float = 0,
        finish_seconds: float = 3600,
        limits: Limits = GENEROUS,
        queue_size: int = 1,
    ) -> None:
        self.engine = Held(queue_size)
        self.socket = bind("127.0.0.1", 0)
        listen(self.socket)
        # Asked now: the server closes the socket at its end.
        self.address: tuple[str, int] = self.socket.getsockname()
        self.url = url(self.socket)
        self.drain = Drain()
        app = create_app(self.engine, MODEL, self.drain, max_body=1024)
        ready = threading.Event()

        def say_ready() -> None:
            self.loop = asyncio.get_running_loop()
            ready.set()

        self.server = DrainingServer(
            app,
            self.drain,
            limits,
            drain_seconds=drain_seconds,
            finish_seconds=finish_seconds,
            on_ready=say_ready,
        )
        self.thread = threading.Thread(target=self.server.run, args=([self.socket],), daemon=True)
        self.thread.start()
        ready.wait()
        self._pool = ThreadPoolExecutor()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.engine.allowed.set()
        self.server.handle_exit(signal.SIGTERM, None)
        self.thread.join()
        self.engine.close(timeout=60)
        self._pool.shutdown()

    def post(self, text: str) -> httpx.Response:
        return httpx.post(f"{self.url}/predict", json={"text": text}, timeout=None)

    def begin(self, text: str) -> "Future[httpx.Response]":
        """Post, and return when the engine has been asked: the text is computed or waits."""
        answer = self._pool.submit(self.post, text)
        assert self.engine.asked.get() == text
        return answer

    def get(self, path: str) -> httpx.Response:
        return httpx.get(f"{self.url}{path}", timeout=None)

    def health(self) -> httpx.Response:
        return self.get("/health")

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address)

    def wait_until_not_ready(self) -> httpx.Response:
        """Ask until the server says to everyone that it ends."""
        while (answer := self.get("/ready")).headers.get("connection") != "close":
            pass
        return answer

    def wait_until_closed(self) -> None:
        """Connect until nobody listens any more."""
        with suppress(ConnectionError):
            while True:
                self.connect().close()

    @contextmanager
    def loop_stands_still(self) -> Iterator[None]:
        """Meanwhile the server's thread does nothing at all."""
        stands, go_on = threading.Event(), threading.Event()

        def stand() -> None:
            stands.set()
            go_on.wait()

        self.loop.call_soon_threadsafe(stand)
        stands.wait()
        yield
        go_on.set()


def assert_problem(response: httpx.Response, status: int, words: str) -> None:
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["status"] == status
    assert words in response.json()["detail"]


def read_all(connection: socket.socket) -> bytes:
    """What comes until the server closes the connection."""
    return b"".join(iter(lambda: connection.recv(65536), b""))
