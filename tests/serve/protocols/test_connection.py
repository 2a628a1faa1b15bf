"""Clients that are slow, many, or do not speak HTTP: real sockets, and raw bytes by the thousand."""

import asyncio
import json
import re
import select
from collections.abc import Iterator
from typing import Any

import h11
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from uvicorn.server import ServerState

from retort.serve.engine.engine import NO_TERMS, Answer, Done, Load, Terms
from retort.serve.protocols.app import create_app
from retort.serve.protocols.connection import Connection, EdgeConfig, Limits
from retort.serve.protocols.drain import Drain
from retort.serve.protocols.service import Service
from tests.processes.held_server import GENEROUS, MODEL, OneModel, Serving, read_all

HEAD = b"POST /predict HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n"
SLOW = {
    "no line": b"POST /pre",
    "half a head": HEAD,
    "half a length": HEAD + b"content-length: 100\r\n\r\n{",
    "half a piece": HEAD + b"transfer-encoding: chunked\r\n\r\n5\r\nab",
}


def problem_of(answer: bytes) -> dict[str, Any]:
    """The problem that raw bytes are: whole, and told how to be read."""
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    assert b"content-type: application/problem+json" in lines
    assert b"x-content-type-options: nosniff" in lines
    assert b"connection: close" in lines
    assert sum(line.startswith(b"x-request-id: ") for line in lines) == 1
    problem: dict[str, Any] = json.loads(body)
    assert lines[0].startswith(b"http/1.1 %d " % problem["status"])
    return problem


@pytest.fixture(scope="module")
def hasty() -> Iterator[Serving]:
    """A server without patience."""
    with Serving(limits=Limits(64, receive_seconds=0.2, idle_seconds=0.2)) as started:
        started.engine.allowed.set()
        yield started


@pytest.mark.parametrize("sent", SLOW.values(), ids=SLOW.keys())
def test_a_request_that_does_not_come_is_told_so(hasty: Serving, sent: bytes) -> None:
    with hasty.connect() as slow:
        slow.sendall(sent)
        problem = problem_of(read_all(slow))
    assert problem["status"] == 408
    assert "not received within 0.2 s" in problem["detail"]


def test_a_byte_now_and_then_buys_no_time(hasty: Serving) -> None:
    with hasty.connect() as slow:
        slow.sendall(HEAD + b"x: ")
        while not select.select([slow], [], [], 0.01)[0]:
            slow.sendall(b"a")
        assert problem_of(slow.recv(65536))["status"] == 408


def test_whoever_says_nothing_hears_nothing(hasty: Serving) -> None:
    with hasty.connect() as silent:
        assert read_all(silent) == b""


def test_an_idle_connection_is_closed(hasty: Serving) -> None:
    with hasty.connect() as idle:
        idle.sendall(b"GET /health HTTP/1.1\r\nhost: test\r\n\r\n")
        assert read_all(idle).startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_client_that_does_not_read_is_cut_off(hasty: Serving) -> None:
    with hasty.connect() as deaf:
        many = b"GET /openapi.json HTTP/1.1\r\nhost: test\r\n\r\n" * 100
        with pytest.raises(ConnectionError):
            while True:
                deaf.sendall(many)


def test_computing_may_take_longer_than_receiving() -> None:
    with Serving(limits=Limits(64, receive_seconds=0.2, idle_seconds=0.2)) as held:
        answer = held.begin("long")
        with held.connect() as slow:
            read_all(slow)  # so much time has passed
        held.engine.allowed.set()
        assert answer.result().status_code == 200


def test_with_too_many_connections_the_slowest_clients_give_way() -> None:
    with Serving(limits=Limits(8, receive_seconds=3600, idle_seconds=3600)) as held:
        running = held.begin("running")
        held.engine.begun.get()
        waiting = held.begin("waiting")
        crowd = []
        for number in range(30):
            crowd.append(held.connect())
            crowd[-1].sendall(SLOW["half a length"] if number % 2 else b"")
            assert held.health().status_code == 200
        for number, slow in enumerate(crowd[:20]):
            answer = read_all(slow)
            assert not answer if number % 2 == 0 else problem_of(answer)["status"] == 503
        held.engine.allowed.set()
        assert [running.result().status_code, waiting.result().status_code] == [200, 200]
        for slow in crowd:
            slow.close()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"hello\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (HEAD + b"content-length: -1\r\n\r\n", 400),
        (HEAD + b"content-length: 1\r\ncontent-length: 2\r\n\r\n", 400),
        (HEAD + b"transfer-encoding: gzip\r\n\r\n", 501),
        (HEAD + b"transfer-encoding: chunked\r\n\r\nxyz\r\n", 400),
        (HEAD + b"x: " + b"a" * 100_000, 431),
        (b"GET /" + b"a" * 100_000, 431),
    ],
)
def test_what_is_not_http_is_a_problem(sent: bytes, status: int) -> None:
    with Serving() as held, held.connect() as client:
        client.sendall(sent)
        assert problem_of(client.recv(65536))["status"] == status


def test_whoever_wants_another_protocol_is_answered_in_this_one(
    hasty: Serving, capfd: pytest.CaptureFixture[str]
) -> None:
    with hasty.connect() as client:
        client.sendall(
            b"GET /health HTTP/1.1\r\nhost: test\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
            b"sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        assert client.recv(65536).startswith(b"HTTP/1.1 200 OK\r\n")
    assert capfd.readouterr() == ("", "")


class Instant:
    """An engine that answers at once."""

    done = Done()
    load = Load(reading=0, texts=0, tokens=0, workers=1, computing=0)

    async def predict(self, text: str, terms: Terms = NO_TERMS) -> Answer:
        said = f"{len(text)} letters"
        return Answer(said, 0.5, (0.5, 0.5), MODEL.labels, len(text), truncated=False)

    def is_alive(self) -> bool:
        return True


APP = create_app(Service(OneModel(Instant()), Drain(), 200, 60))


class Wire(asyncio.Transport):
    """A connection's other end, in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.closed
        self.sent += bytes(data)

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


def exchange(pieces: list[bytes]) -> bytes:
    """What the server sends to whoever sends so, piece by piece, and goes away."""
    problems: list[dict[str, Any]] = []

    async def talk() -> bytes:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, context: problems.append(context))
        config = EdgeConfig(
            APP,
            GENEROUS,
            lifespan="off",
            log_config=None,
            access_log=False,
            ws="none",
            headers=[("x-content-type-options", "nosniff")],
        )
        config.load()
        state = ServerState()
        state.default_headers = config.encoded_headers
        connection, wire = Connection(config, state, {}, loop), Wire()
        connection.connection_made(wire)
        for piece in pieces:
            if not wire.closed:
                connection.data_received(piece)
            for _ in range(30):
                await asyncio.sleep(0)
        connection.connection_lost(None)
        await asyncio.gather(*state.tasks)
        assert not config.waiting
        return wire.sent

    sent = asyncio.run(talk())
    assert problems == []
    return sent


def answers(sent: bytes, methods: list[bytes]) -> list[tuple[int, bytes, bytes]]:
    """Status, content type and body of every answer, read by h11's own client."""
    found = []
    client = h11.Connection(h11.CLIENT)
    client.receive_data(sent)
    for method in methods:
        client.send(h11.Request(method=method, target="/", headers=[("host", "test")]))
        client.send(h11.EndOfMessage())
        event, body = client.next_event(), b""
        while isinstance(event, h11.InformationalResponse):
            event = client.next_event()
        if not isinstance(event, h11.Response):
            break
        status, kind = event.status_code, dict(event.headers)[b"content-type"]
        while isinstance(event := client.next_event(), h11.Data):
            body += bytes(event.data)
        assert isinstance(event, h11.EndOfMessage)
        found.append((status, kind, body))
        if client.our_state is not h11.DONE or client.their_state is not h11.DONE:
            break
        client.start_next_cycle()
    return found


TOKENS = st.sampled_from(
    [b"POST", b"GET", b"HEAD", b"PRI", b" ", b"/predict", b"/health", b"*", b"/%00", b" HTTP/1.1",
     b" HTTP/1.0", b"\r\n", b"\n", b"host: test", b"content-type: application/json",
     b"content-length: 5", b"content-length: 99999999999999999999999", b"transfer-encoding: chunked",
     b"expect: 100-continue", b"connection: upgrade", b"upgrade: h2c", b"content-encoding: gzip",
     b"5\r\n", b"0\r\n\r\n", b"\r\n\r\n", b'{"text": "a"}', b'{"text": ""}', b":", b"\x00", b"\xff"]
)  # fmt: skip
HEADERS = st.lists(
    st.sampled_from(
        [b"content-type: application/json", b"content-type: text/plain; charset=\xff",
         b"content-type: application/json; charset=utf-16", b"content-encoding: gzip, identity",
         b"expect: 100-continue", b"connection: close", b"connection: upgrade\r\nupgrade: websocket",
         b"x: " + b"y" * 3000]
    ),
    max_size=5,
)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.just("text") | st.text(), inner),
    max_leaves=10,
)


def pieces_of(sent: bytes, cuts: list[int]) -> list[bytes]:
    """The bytes, cut at some places."""
    ends = sorted({cut % (len(sent) + 1) for cut in cuts} | {len(sent)})
    return [sent[begin:end] for begin, end in zip([0, *ends], ends, strict=False) if end > begin]


CUTS = st.lists(st.integers(0, 10_000), max_size=3)


@settings(max_examples=500, deadline=None)
@given(sent=st.lists(TOKENS | st.binary(max_size=8), max_size=30).map(b"".join), cuts=CUTS)
@example(sent=b"\r\n" * 3, cuts=[])
@example(sent=b" HTTP/1.1 0\r\n\r\n", cuts=[])
@example(sent=SLOW["half a piece"] + b"cde\r\nzz\r\n", cuts=[80])
def test_no_bytes_make_the_server_stumble(sent: bytes, cuts: list[int]) -> None:
    got = exchange(pieces_of(sent, cuts))
    if got and not got.startswith(b"HTTP/1.1 100 "):
        assert got.startswith(b"HTTP/1.1 ")
        assert int(got[9:12]) in {200, 400, 404, 405, 413, 415, 422, 431, 501}
        # Not the bytes of a request that an answer quotes: those stand before a quotation mark.
        whole = re.findall(rb'HTTP/1\.1 [2-5]\d\d [^"\r\n]*\r\n', got)
        assert got.count(b"x-content-type-options: nosniff") == len(whole)


@settings(max_examples=400, deadline=None)
@given(
    method=st.sampled_from([b"GET", b"POST", b"PUT", b"HEAD", b"OPTIONS", b"M" * 2000]),
    path=st.sampled_from([b"/predict", b"/health", b"/ready", b"/predict/", b"//x/", b"/" + b"%41" * 4000])
    | st.text(st.characters(min_codepoint=33, max_codepoint=126)).map(lambda text: b"/" + text.encode()),
    headers=HEADERS,
    body=st.binary(max_size=300) | JSON.map(lambda value: json.dumps(value).encode()),
    cuts=CUTS,
)  # fmt: skip
def test_every_whole_request_has_one_short_answer(
    method: bytes, path: bytes, headers: list[bytes], body: bytes, cuts: list[int]
) -> None:
    head = [method + b" " + path + b" HTTP/1.1", b"host: test", *headers]
    sent = b"\r\n".join([*head, b"content-length: %d" % len(body), b"", body])
    [(status, kind, got)] = answers(exchange(pieces_of(sent, cuts)), [method])
    assert len(got) < 8000
    if method == b"HEAD":
        assert got == b""
    elif status == 200:
        assert kind == (b"text/html; charset=utf-8" if path == b"/" else b"application/json")
    else:
        assert kind == b"application/problem+json"
        problem = json.loads(got)
        assert problem["status"] == status
        assert problem["detail"].isprintable()
        assert len(got) < 2500 or path == b"/openapi.json"
