"""A server as it is typed, for tests: a fresh process, a real checkpoint, real sockets."""

import os
import socket
from contextlib import suppress
from pathlib import Path

import httpx

from retort.core.forks.client import run
from retort.models.checkpoint import Checkpoint
from retort.models.predict import predict
from tests.processes.ready import ReadyProcess

MAX_BODY = 4096
PATIENT = ("--receive-seconds", "3600")
"""Of a server that waits for what a busy client sends."""
JSON_TYPE = {"content-type": "application/json"}
TEXTS = ("shares rose", "the vote was close", "two goals, one win", "новый телефон", "猫 🙂", "x9")


class ServerProcess(ReadyProcess):
    """`retort.serve.main` in a fresh process."""

    def __init__(self, checkpoint: Path, *options: str, files: int = 1024) -> None:
        limited = ["tests.processes.few_files", str(files), "retort.serve.main"]
        super().__init__([*limited, "--checkpoint", str(checkpoint), "--port", "0", *options])

    @property
    def address(self) -> tuple[str, int]:
        host, port = self.url.removeprefix("http://").split(":")
        return host, int(port)


def refused(checkpoint: Path, *options: str) -> tuple[int, list[str]]:
    """The exit code and the lines of a server that must not start, typed beside the checkpoint."""
    typed_in = {**os.environ, "BUILD_WORKING_DIRECTORY": str(checkpoint.parent)}
    ended = run(["retort.serve.main", "--checkpoint", checkpoint.name, *options], typed_in)
    assert ended.stdout == ""
    return ended.returncode, ended.stderr.splitlines()


def direct(loaded: Checkpoint, text: str) -> dict[str, str | float]:
    """What the server must answer: computed here, alone."""
    [prediction] = predict(loaded, [text])
    return {"label": prediction.label, "confidence": prediction.confidence}


def described_text(client: httpx.Client) -> dict[str, str]:
    """What the description of the interface asks of a text."""
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    return dict(schemas["PredictionRequest"]["properties"]["text"])


def assert_problem(response: httpx.Response, status: int, words: str) -> None:
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert (problem["type"], problem["status"]) == ("about:blank", status)
    assert problem["title"]
    assert words in problem["detail"]


def begin_request(address: tuple[str, int], size: int) -> tuple[socket.socket, bytes]:
    """A connection on which a request has begun, its body still to be sent, and what came back.

    The client asks whether to go on, so what comes back says that the server has begun to read.
    """
    connection = socket.create_connection(address)
    head = (
        "POST /predict HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n"
        f"content-length: {size}\r\nexpect: 100-continue\r\n\r\n"
    )
    connection.sendall(head.encode())
    return connection, connection.recv(65536)


def wait_until_closed(server: ServerProcess) -> None:
    """Connect until nobody listens any more."""
    with suppress(ConnectionError):
        while True:
            socket.create_connection(server.address).close()


def read_all(connection: socket.socket) -> bytes:
    """What comes until the server closes the connection."""
    return b"".join(iter(lambda: connection.recv(65536), b""))
