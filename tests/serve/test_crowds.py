"""Clients in crowds: slow ones, silent ones, and thousands whose requests are noise. Others are answered meanwhile."""

import itertools
import random
import resource
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from retort.models.checkpoint import Checkpoint
from tests.processes.forks import fork_server_for
from tests.serve.running import PATIENT, TEXTS, ServerProcess, direct
from tests.tiny.checkpoints import write_served

pytest_plugins = ["tests.serve.fixtures"]
forks = fork_server_for("retort.serve.main", "retort.serve.engine.model_process")

HEAD = b"POST /predict HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n"
SILENT = 2000
SLOW = 100
NOISY = 5000


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_served(tmp_path_factory.mktemp("checkpoints") / "tiny", "portable")


@pytest.fixture(scope="module", autouse=True)
def many_files() -> None:
    """This process holds both a crowd's ends and its own."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and most < 2 * SILENT:
        pytest.skip(f"only {most} files may be open here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (2 * SILENT, most))


def is_answered(server: ServerProcess, expected: dict[str, object]) -> None:
    """On connections of their own, as anybody's."""
    for text, answer in expected.items():
        found = httpx.post(f"{server.url}/predict", json={"text": text}, timeout=None)
        assert (found.status_code, found.json()) == (200, answer)
    for path in ("/live", "/health", "/ready"):
        assert httpx.get(f"{server.url}{path}", timeout=None).status_code == 200


@contextmanager
def crowd(server: ServerProcess, count: int, begin: bytes) -> Iterator[list[socket.socket]]:
    """So many connections, on each of which a client has begun to speak, or not."""
    found: list[socket.socket] = []
    try:
        for _ in range(count):
            found.append(socket.create_connection(server.address))
            with suppress(ConnectionError):  # it had to give way already
                found[-1].sendall(begin)
        yield found
    finally:
        for one in found:
            one.close()


@pytest.mark.parametrize("files", [128, 4096])
@pytest.mark.parametrize(
    ("count", "begin"),
    [(SILENT, b""), (SLOW, HEAD), (SLOW, HEAD + b'content-length: 50\r\n\r\n{"text": "')],
    ids=["silent", "slow head", "slow body"],
)
def test_a_crowd_that_says_little_keeps_nobody_waiting(
    loaded: Checkpoint, files: int, count: int, begin: bytes
) -> None:
    expected: dict[str, object] = {text: direct(loaded, text) for text in TEXTS}
    with ServerProcess(loaded.sealed.path, *PATIENT, files=files) as server:
        with crowd(server, count, begin) as clients:
            is_answered(server, expected)
            for one in clients[:: max(1, count // 50)]:
                with suppress(ConnectionError):
                    one.sendall(b"a")
            is_answered(server, expected)
        is_answered(server, expected)
        server.signal(signal.SIGINT)
        assert server.wait() == (0, [])


def noise(drawn: random.Random) -> bytes:
    """A request of which some bytes are others, more, or fewer."""
    body = b'{"text": "%s"}' % bytes(drawn.choices(b'ab \\"\xc3\xa9{}[]', k=drawn.randrange(60)))
    path = drawn.choice([b"/predict", b"/v1/predict", b"/v2/models/classifier/infer", b"/", b"/x"])
    method = drawn.choice([b"POST", b"GET", b"PUT", b"\x00"])
    request = bytearray(
        b"%b %b HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nconnection: close\r\n"
        b"content-length: %d\r\n\r\n%b" % (method, path, len(body), body)
    )
    for _ in range(drawn.choice([0, 1, 3, 10])):
        at = drawn.randrange(len(request))
        change = drawn.randrange(3)
        if change == 0:
            request[at] = drawn.randrange(256)
        elif change == 1:
            del request[at : at + drawn.randrange(1, 20)]
        else:
            request[at:at] = bytes(drawn.choices(range(256), k=drawn.randrange(1, 20)))
        if not request:
            return b"\r\n"
    return bytes(request)


def exchange(server: ServerProcess, request: bytes) -> bytes:
    """What comes back, once the server has closed, or nothing can come any more."""
    received = bytearray()
    with socket.create_connection(server.address) as client, suppress(ConnectionError):
        client.sendall(request)
        client.shutdown(socket.SHUT_WR)
        while piece := client.recv(65536):
            received += piece
    return bytes(received)


def test_thousands_of_requests_that_are_noise_leave_it_as_it_was(
    server: ServerProcess, loaded: Checkpoint
) -> None:
    expected: dict[str, object] = {text: direct(loaded, text) for text in TEXTS}
    requests = [noise(random.Random(number)) for number in range(NOISY)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(exchange, itertools.repeat(server), requests))
    for request, answer in zip(requests, answers, strict=True):
        assert answer == b"" or answer.startswith(b"HTTP/1.1 "), request
        assert not answer.startswith(b"HTTP/1.1 500"), request
    assert sum(answer.startswith(b"HTTP/1.1 200") for answer in answers) > NOISY // 100
    assert sum(answer.startswith(b"HTTP/1.1 4") for answer in answers) > NOISY // 2
    is_answered(server, expected)
