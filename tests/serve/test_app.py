"""The server over a model that the test holds still: what happens while it computes, or fails."""

import queue
import re
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self

import httpx
import pytest

from retort.core.errors import UserError
from retort.models.predict import Prediction
from retort.serve.app import ServedModel, create_app
from retort.serve.drain import Drain
from retort.serve.server import DrainingServer, bind, listen, url
from retort.serve.worker import WorkerEngine

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

    def __init__(self, *, drain_seconds: float = 3600) -> None:
        self.engine = Held(queue_size=1)
        self.socket = bind("127.0.0.1", 0)
        listen(self.socket)
        self.url = url(self.socket)
        self.drain = Drain()
        app = create_app(self.engine, MODEL, self.drain, max_body=1024)
        ready = threading.Event()
        self.server = DrainingServer(
            app, self.drain, drain_seconds=drain_seconds, on_ready=ready.set
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

    def health(self) -> httpx.Response:
        return httpx.get(f"{self.url}/health", timeout=None)


@pytest.fixture
def held() -> Iterator[Serving]:
    with Serving() as started:
        yield started


def assert_problem(response: httpx.Response, status: int, words: str) -> None:
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["status"] == status
    assert words in response.json()["detail"]


def test_health_is_answered_while_the_model_computes(held: Serving) -> None:
    answer = held.begin("long")
    held.engine.begun.get()
    health = held.health()
    assert (health.status_code, health.json()["status"]) == (200, "ok")
    assert not answer.done()
    held.engine.allowed.set()
    assert answer.result().json() == {"label": "sport", "confidence": 0.5}


def test_a_full_queue_is_said_at_once_with_a_time_to_come_back(held: Serving) -> None:
    running = held.begin("running")
    held.engine.begun.get()
    waiting = held.begin("waiting")
    refused = held.post("too many")
    assert_problem(refused, 503, "1 requests are waiting already; try again later")
    assert int(refused.headers["retry-after"]) > 0
    held.engine.allowed.set()
    assert [running.result().status_code, waiting.result().status_code] == [200, 200]
    assert held.engine.computed == ["running", "waiting"]


def test_a_client_that_leaves_the_queue_is_not_computed(held: Serving) -> None:
    running = held.begin("running")
    held.engine.begun.get()
    body = b'{"text": "leaving"}'
    with socket.create_connection(held.socket.getsockname()) as client:
        client.sendall(
            b"POST /predict HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n"
        )
        client.sendall(b"content-length: %d\r\n\r\n%s" % (len(body), body))
        assert held.engine.asked.get() == "leaving"
    assert held.engine.given_up.get() == "leaving"
    staying = held.begin("staying")
    held.engine.allowed.set()
    assert [running.result().status_code, staying.result().status_code] == [200, 200]
    assert held.engine.computed == ["running", "staying"]


def test_an_error_of_the_model_is_one_answer_500_without_its_details(held: Serving) -> None:
    held.engine.allowed.set()
    failed = held.post("fail")
    assert_problem(failed, 500, "the model failed on this text")
    assert "secret" not in failed.text
    assert held.post("next").status_code == 200
    assert held.health().json()["status"] == "ok"


def test_a_dead_model_is_told_by_health(held: Serving) -> None:
    dying = held.begin("die")
    held.engine.begun.get()
    waiting = held.begin("waiting")
    held.engine.allowed.set()
    assert_problem(dying.result(), 503, "the model has died")
    assert_problem(waiting.result(), 503, "the model was stopped")
    assert_problem(held.post("later"), 503, "the model is not running")
    health = held.health()
    assert (health.status_code, health.json()["status"]) == (503, "failed")


def test_draining_finishes_what_has_begun_and_turns_the_rest_away(held: Serving) -> None:
    running = held.begin("running")
    held.engine.begun.get()
    waiting = held.begin("waiting")
    held.server.handle_exit(signal.SIGTERM, None)
    health = held.health()
    assert (health.status_code, health.json()["status"]) == (503, "draining")
    turned_away = held.post("new")
    assert_problem(turned_away, 503, "the server is ending")
    assert turned_away.headers["connection"] == "close"
    held.engine.allowed.set()
    assert [running.result().status_code, waiting.result().status_code] == [200, 200]
    held.thread.join()
    with pytest.raises(httpx.ConnectError):
        held.health()


def test_a_request_that_outlasts_the_drain_is_told_and_counted() -> None:
    with Serving(drain_seconds=0) as held:
        endless = held.begin("endless")
        held.engine.begun.get()
        held.server.handle_exit(signal.SIGTERM, None)
        assert_problem(endless.result(), 503, "the server ended before it could answer")
        held.thread.join()
        assert held.drain.cut_off == 1


def test_two_servers_that_start_at_once_do_not_share_a_port() -> None:
    with bind("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with bind("127.0.0.1", port) as second:
            listen(first)
            with pytest.raises(UserError, match=f"127.0.0.1:{port}: Address already in use"):
                listen(second)


@pytest.mark.parametrize("host", ["192.0.2.1", "a..b", "a" * 64])
def test_an_address_that_cannot_be_had_is_named(host: str) -> None:
    with pytest.raises(UserError, match=f"cannot listen on {re.escape(host)}:8000: .+ --host"):
        bind(host, 8000)


def test_all_addresses_are_shown_as_one_that_can_be_opened() -> None:
    with bind("0.0.0.0", 0) as bound:
        assert url(bound) == f"http://127.0.0.1:{bound.getsockname()[1]}"
