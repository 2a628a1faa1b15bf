"""A server over a model that the test holds still, on a real socket in a thread of this process."""

import asyncio
import queue
import signal
import socket
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, Self

import httpx
import numpy as np
from numpy.typing import NDArray

from retort.serve.engine.batching import BatchingEngine, Settings, WorkerLost
from retort.serve.engine.engine import NO_TERMS, Answer, InferenceEngine, Terms
from retort.serve.listening import bind, listen, url
from retort.serve.protocols.app import create_app
from retort.serve.protocols.connection import Limits
from retort.serve.protocols.drain import Drain
from retort.serve.protocols.service import Counts, Served, ServedModel, Service, Told
from retort.serve.server import DrainingServer

GENEROUS = Limits(connections=64, receive_seconds=3600, idle_seconds=3600)
MODEL = ServedModel("sha256:" + "0" * 64, ("sport", "tech"))


class OneModel:
    """The models of a server that has one engine, which is a test's."""

    default = "classifier"
    names = ("classifier",)

    def __init__(self, engine: InferenceEngine) -> None:
        self._engine = engine

    def told(self, name: str) -> Told:
        """The same of any name that there is."""
        {"classifier": None}[name]
        return Told(MODEL, self._engine.is_alive())

    def counts(self) -> tuple[Counts, ...]:
        """Of the engine."""
        return (Counts("classifier", MODEL.seal, self._engine.load, self._engine.done),)

    @asynccontextmanager
    async def using(self, name: str) -> AsyncIterator[Served]:
        """The engine."""
        self.told(name)
        yield Served(MODEL, self._engine)


class Letters:
    """Reads a letter as a token, and remembers texts by their tokens."""

    special = 0
    max_tokens = 1000

    def read(self, text: str) -> tuple[NDArray[np.int64], bool]:
        return np.array([ord(letter) for letter in text], np.int64), False


class HeldWorker:
    """Computes one text after another when it may; "fail" makes it fail, and "die" end."""

    def __init__(self) -> None:
        self.begun: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.allowed = threading.Event()
        self.computed: list[str] = []
        self._gone = asyncio.Event()

    async def listen(self) -> None:
        await self._gone.wait()
        self._gone.clear()

    async def compute(
        self, texts: Sequence[NDArray[np.int64]], threads: int, patience: float
    ) -> NDArray[np.float32]:
        return np.stack([await self._one("".join(map(chr, text))) for text in texts])

    async def _one(self, text: str) -> NDArray[np.float32]:
        self.begun.put(text)
        await self._permission()
        self.computed.append(text)
        if text == "die":
            self._gone.set()
            raise WorkerLost
        return np.array([np.nan, np.nan] if text == "fail" else [0.5, 0.25], np.float32)

    async def _permission(self) -> None:
        loop, given = asyncio.get_running_loop(), asyncio.Event()

        def wait() -> None:
            self.allowed.wait()
            with suppress(RuntimeError):  # the loop may have ended
                loop.call_soon_threadsafe(given.set)

        threading.Thread(target=wait, daemon=True).start()  # which nobody waits for
        await given.wait()


class Held(BatchingEngine):
    """The real engine with a worker that waits for permission, telling what reaches it."""

    def __init__(self, queue_size: int, client_texts: int | None) -> None:
        self.asked: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.given_up: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.worker = HeldWorker()
        self.begun, self.allowed = self.worker.begun, self.worker.allowed
        self.computed = self.worker.computed
        letters: Any = Letters()
        settings = Settings(queue_texts=queue_size, client_texts=client_texts, batch_tokens=1)
        super().__init__(letters, MODEL.labels, settings)

    async def predict(self, text: str, terms: Terms = NO_TERMS) -> Answer:
        self.asked.put(text)
        try:
            return await super().predict(text, terms)
        except BaseException:
            self.given_up.put(text)
            raise


class Serving:
    """A server in a thread of this process, on a real socket."""

    def __init__(
        self,
        *,
        drain_seconds: float = 0,
        finish_seconds: float = 3600,
        limits: Limits = GENEROUS,
        queue_size: int = 1,
        client_texts: int | None = None,
    ) -> None:
        self.engine = Held(queue_size, client_texts)
        self.socket = bind("127.0.0.1", 0)
        listen(self.socket)
        # Asked now: the server closes the socket at its end.
        self.address: tuple[str, int] = self.socket.getsockname()
        self.url = url(self.socket)
        self.drain = Drain()
        app = create_app(Service(OneModel(self.engine), self.drain, 1024, 3600))
        ready = threading.Event()

        def say_ready() -> None:
            self.loop = asyncio.get_running_loop()
            self.worker_comes()
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
        self.engine.close()
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

    def worker_ends(self) -> None:
        """Wait until it has."""
        self.working.result()

    def worker_comes(self) -> None:
        """Have another take the place of one that has ended."""
        self.working = asyncio.run_coroutine_threadsafe(
            self.engine.serve(self.engine.worker), self.loop
        )

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
