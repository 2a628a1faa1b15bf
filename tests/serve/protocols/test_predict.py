"""The server over a model that the test holds still: what happens while it computes, or fails."""

import re
import signal
import socket
from collections.abc import Iterator

import httpx
import pytest

from retort.core.errors import UserError
from retort.serve.listening import bind, listen, possible_connections, url
from tests.processes.held_server import Serving, assert_problem, read_all


@pytest.fixture
def held() -> Iterator[Serving]:
    with Serving() as started:
        yield started


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
    assert_problem(refused, 503, "1 texts are waiting already; try again later")
    assert int(refused.headers["retry-after"]) > 0
    held.engine.allowed.set()
    assert [running.result().status_code, waiting.result().status_code] == [200, 200]
    assert held.engine.computed == ["running", "waiting"]


def test_a_client_with_as_many_texts_as_it_may_have_is_told_to_come_later() -> None:
    with Serving(queue_size=9, client_texts=1) as held:
        running = held.begin("running")
        held.engine.begun.get()
        refused = held.post("one more")
        assert_problem(refused, 429, "1 texts of this client are here already; try again later")
        assert int(refused.headers["retry-after"]) > 0
        held.engine.allowed.set()
        assert running.result().status_code == 200


def test_a_client_that_leaves_the_queue_is_not_computed(held: Serving) -> None:
    running = held.begin("running")
    held.engine.begun.get()
    body = b'{"text": "leaving"}'
    with socket.create_connection(held.address) as client:
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


def test_what_a_worker_died_of_is_tried_once_more_and_what_waited_is_answered(
    held: Serving,
) -> None:
    dying = held.begin("die")
    held.engine.begun.get()
    waiting = held.begin("waiting")
    held.engine.allowed.set()
    held.worker_ends()
    for asked in (held.health(), held.get("/ready")):
        assert (asked.status_code, asked.json()["status"]) == (503, "failed")
    held.worker_comes()
    held.worker_ends()
    assert_problem(dying.result(), 500, "the model's process died of this text")
    held.worker_comes()
    assert waiting.result().status_code == 200
    assert held.engine.computed == ["die", "die", "waiting"]
    assert held.health().json()["status"] == "ok"


def test_what_has_begun_is_finished_after_nothing_more_is_taken(held: Serving) -> None:
    running = held.begin("running")
    held.engine.begun.get()
    waiting = held.begin("waiting")
    held.server.handle_exit(signal.SIGTERM, None)
    held.wait_until_closed()
    held.engine.allowed.set()
    assert [running.result().status_code, waiting.result().status_code] == [200, 200]
    held.thread.join()
    assert held.drain.cut_off == 0


def test_a_server_that_ends_is_not_ready_and_still_answers() -> None:
    with (
        Serving(drain_seconds=3600) as held,
        httpx.Client(base_url=held.url, timeout=None) as kept_open,
    ):
        assert kept_open.get("/ready").status_code == 200
        held.engine.allowed.set()
        held.server.handle_exit(signal.SIGTERM, None)
        not_ready = held.wait_until_not_ready()
        assert (not_ready.status_code, not_ready.json()["status"]) == (503, "draining")
        assert (held.health().status_code, held.health().json()["status"]) == (200, "draining")
        assert held.post("new").status_code == 200
        assert kept_open.post("/predict", json={"text": "old"}).headers["connection"] == "close"


def test_connections_that_nobody_has_accepted_yet_are_answered() -> None:
    with Serving() as held:
        held.engine.allowed.set()
        asked = b"GET /health HTTP/1.1\r\nhost: test\r\n\r\n"
        clients = []
        with held.loop_stands_still():
            for _ in range(40):
                clients.append(socket.create_connection(held.address))
                clients[-1].sendall(asked)
            held.server.handle_exit(signal.SIGTERM, None)
        answers = [read_all(client) for client in clients]
        for client in clients:
            client.close()
        assert {answer.partition(b"\r\n")[0] for answer in answers} == {b"HTTP/1.1 200 OK"}
        held.thread.join()


def test_a_request_that_outlasts_its_time_is_told_and_counted() -> None:
    with Serving(finish_seconds=0) as held:
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


def test_fewer_connections_than_the_queue_can_fill_are_refused() -> None:
    with pytest.raises(UserError, match="--connections 65: --queue 64 needs 66 at least"):
        possible_connections(65, queue=64)
    with pytest.raises(UserError, match="raise the one or lower the other"):
        possible_connections(10**9, queue=10**8)
    assert possible_connections(8, queue=4) == 8
