"""Answers that servers share: a Redis, which may be gone at any time. Then answers are computed."""

import asyncio
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Protocol
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from retort.serve.engine.engine import Done

_log = logging.getLogger(__name__)

_CHECK_BYTES = 8
_MOST_PENDING = 64
"""Answers on their way to a store; more are not sent."""
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 1.0, 30.0
_CONNECTIONS = 4
_PATIENCE_SECONDS = 0.1
"""An answer that takes longer to be brought is computed as fast."""


class Store(Protocol):
    """Bytes by key, which other servers read and write, too."""

    async def get(self, key: bytes) -> bytes | None:
        """
        Raises:
            Exception: it cannot be asked.
        """
        ...

    async def set(self, key: bytes, value: bytes) -> None:
        """
        Raises:
            Exception: it cannot be asked.
        """
        ...

    async def close(self) -> None:
        """Let its connections go."""
        ...


class SharedAnswers:
    """A store of answers that may be gone at any time.

    Args:
        name: of the store, for the log.
        done: where to count.
        clock: in seconds.
    """

    def __init__(
        self, store: Store, name: str, done: Done, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store, self._name, self._done, self._clock = store, name, done, clock
        self._pause, self._again = 0.0, 0.0
        self._pending: set[asyncio.Task[None]] = set()

    async def get(self, key: bytes, labels: int) -> NDArray[np.float32] | None:
        """Probabilities, [labels]; None if they are not there, or not whole."""
        found: list[bytes | None] = []

        async def ask() -> None:
            found.append(await self._store.get(key))

        if not await self._tried(ask) or found[0] is None:
            return None
        value, check = found[0][:-_CHECK_BYTES], found[0][-_CHECK_BYTES:]
        if len(value) != 4 * labels or check != _check(key, value):
            return None
        return np.frombuffer(value, np.float32)

    def put(self, key: bytes, probabilities: NDArray[np.float32]) -> None:
        """Send an answer, and wait for nothing."""
        if len(self._pending) >= _MOST_PENDING:
            return
        value = probabilities.tobytes()

        async def send() -> None:
            await self._store.set(key, value + _check(key, value))

        task = asyncio.create_task(self._send(send))
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)

    async def close(self) -> None:
        """Give up what is on its way; the store stays as it is."""
        for task in tuple(self._pending):
            task.cancel()
        await asyncio.gather(*self._pending, return_exceptions=True)

    async def _send(self, send: Callable[[], Awaitable[None]]) -> None:
        await self._tried(send)

    async def _tried(self, ask: Callable[[], Awaitable[None]]) -> bool:
        """Whether it could be asked, and was."""
        if self._clock() < self._again:
            return False
        try:
            await ask()
        except Exception as error:  # whatever a library raises of a network
            self._done.store_failures += 1
            if not self._pause:
                _log.warning("%s does not answer (%s); answers are computed", self._name, error)
            self._pause = min(max(_FIRST_PAUSE_SECONDS, 2 * self._pause), _LONGEST_PAUSE_SECONDS)
            self._again = self._clock() + self._pause
            return False
        if self._pause:
            _log.info("%s answers again", self._name)
            self._pause = 0.0
        return True


def _check(key: bytes, value: bytes) -> bytes:
    """Tells a value that is not whole, or of another key."""
    return hashlib.sha256(key + value).digest()[:_CHECK_BYTES]


class RedisStore:
    """A Redis server: redis://, rediss:// or unix://."""

    def __init__(self, url: str, keep_seconds: float) -> None:
        """
        Args:
            keep_seconds: after which it forgets an answer.
        Raises:
            ValueError: `url` is none of these.
        """
        from redis import asyncio as redis  # few need it

        pool = redis.BlockingConnectionPool.from_url(
            url,
            max_connections=_CONNECTIONS,
            timeout=_PATIENCE_SECONDS,
            socket_timeout=_PATIENCE_SECONDS,
            socket_connect_timeout=_PATIENCE_SECONDS,
        )
        self._redis = redis.Redis.from_pool(pool)
        self._keep = max(1, round(keep_seconds))

    async def get(self, key: bytes) -> bytes | None:
        """As `Store.get`."""
        found = await self._redis.get(_named(key))
        if isinstance(found, str):
            raise TypeError("answers are bytes; take decode_responses out of its address")
        return found

    async def set(self, key: bytes, value: bytes) -> None:
        """As `Store.set`."""
        await self._redis.set(_named(key), value, ex=self._keep)

    async def close(self) -> None:
        """As `Store.close`."""
        await self._redis.aclose()


def redis_store(url: str, keep_seconds: float) -> tuple[Store, str]:
    """A Redis, and what the log may call it.

    Raises:
        ValueError: `url` is no address of one.
    """
    return RedisStore(url, keep_seconds), without_password(url)


def without_password(url: str) -> str:
    """Of a Redis, as the log may have it."""
    parts = urlsplit(url)
    where = parts.netloc.rpartition("@")[2] + parts.path
    return f"{parts.scheme}://{where}"


def _named(key: bytes) -> str:
    return f"retort:{key.hex()}"
