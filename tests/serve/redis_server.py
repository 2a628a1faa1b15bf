"""A Redis of a test's own."""

import os
import shutil
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import redis

REDIS = shutil.which("redis-server", path=f"{os.environ['PATH']}:/usr/bin")


class RedisServer:
    """A real one at a socket in a folder, which can be killed and started again. It writes no file.

    Attributes:
        url: of the socket.
    """

    def __init__(self, folder: Path) -> None:
        # A path of a socket has at most 107 characters, and those of tests have more.
        self._socket = Path(f"/tmp/retort-redis-{os.getpid()}-{folder.name[-20:]}")
        self.url = f"unix://{self._socket}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        assert REDIS is not None
        options = [
            "--port",
            "0",
            "--unixsocket",
            str(self._socket),
            "--save",
            "",
            "--appendonly",
            "no",
        ]
        self._process = subprocess.Popen([REDIS, *options], stdout=subprocess.DEVNULL)
        while True:
            with suppress(redis.ConnectionError), self.client() as asked:
                asked.ping()
                return
            time.sleep(0.01)

    def client(self) -> "redis.Redis":
        """Of this server."""
        return redis.Redis.from_url(self.url)

    def kill(self) -> None:
        """As kill -9 does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        self._socket.unlink(missing_ok=True)

    def __enter__(self) -> "RedisServer":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
