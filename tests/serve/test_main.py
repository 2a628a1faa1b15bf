"""The server as it is typed: a fresh process, a real checkpoint, real sockets."""

import itertools
import json
import math
import shutil
import signal
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import safetensors.torch

from retort.core.seal import sealing, verify
from retort.models.checkpoint import Checkpoint
from tests.processes.forks import fork_server_for
from tests.serve.running import (
    PATIENT,
    TEXTS,
    ServerProcess,
    begin_request,
    direct,
    read_all,
    refused,
    wait_until_closed,
)

pytest_plugins = ["tests.serve.fixtures"]
forks = fork_server_for("retort.serve.main", "transformers.models.bert.modeling_bert")


def test_no_request_fails_across_sigterm_for_whoever_asks_whether_it_is_ready(
    checkpoint: Path, loaded: Checkpoint
) -> None:
    """Clients send without a pause, on connections kept and new, until `/ready` says no more."""
    stop, all_begun = threading.Event(), threading.Barrier(9)
    expected = {text: direct(loaded, text) for text in TEXTS}

    def load(url: str, number: int) -> None:
        with httpx.Client(timeout=None) as kept:
            post = kept.post if number % 2 else httpx.post
            for turn in itertools.count():
                text = TEXTS[(number + turn) % len(TEXTS)]
                answer = post(f"{url}/predict", json={"text": text}, timeout=None)
                if (answer.status_code, answer.json()) != (200, expected[text]):
                    all_begun.abort()
                    raise AssertionError(answer.text)
                if turn == 0:
                    all_begun.wait()
                if stop.is_set():
                    return

    with (
        ServerProcess(checkpoint, "--drain-seconds", "30") as server,
        ThreadPoolExecutor(8) as pool,
        httpx.Client(base_url=server.url, timeout=None) as asking,
    ):
        clients = [pool.submit(load, server.url, number) for number in range(8)]
        try:
            all_begun.wait()
            assert asking.get("/ready").status_code == 200
            server.signal(signal.SIGTERM)
            while asking.get("/ready").status_code == 200:
                pass
            assert asking.get("/health").json()["status"] == "draining"
        finally:
            stop.set()
        for client in clients:
            client.result()
        server.signal(signal.SIGTERM)  # no longer than the test has to
        assert server.wait() == (0, [])


def test_sigterm_lets_a_request_finish_after_the_server_has_closed(
    checkpoint: Path, loaded: Checkpoint
) -> None:
    with ServerProcess(checkpoint, "--drain-seconds", "0", *PATIENT) as server:
        body = json.dumps({"text": "in flight"}).encode()
        connection, go_on = begin_request(server.address, len(body))
        with connection:
            assert go_on.startswith(b"HTTP/1.1 100 ")
            server.signal(signal.SIGTERM)
            wait_until_closed(server)
            connection.sendall(body)
            head, _, answer = read_all(connection).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        assert json.loads(answer) == direct(loaded, "in flight")
        assert server.wait() == (0, [])


def test_health_is_answered_when_more_connect_than_files_may_be_open(checkpoint: Path) -> None:
    with ServerProcess(checkpoint, *PATIENT, files=128) as server:
        crowd = []
        for _ in range(150):
            crowd.append(socket.create_connection(server.address))
            crowd[-1].sendall(b"POST /predict HTTP/1.1\r\nhost: test\r\n")
        assert httpx.get(f"{server.url}/health", timeout=None).status_code == 200
        answer = httpx.post(f"{server.url}/predict", json={"text": "a"}, timeout=None)
        assert answer.status_code == 200
        for slow in crowd:
            slow.close()
        server.signal(signal.SIGINT)
        assert server.wait() == (0, [])


def test_the_seal_that_is_meant_is_served_and_no_other(
    checkpoint: Path, loaded: Checkpoint
) -> None:
    with ServerProcess(checkpoint, "--seal", loaded.sealed.seal) as server:
        assert loaded.sealed.seal in server.ready
    other = "sha256:" + "0" * 64
    code, [line] = refused(checkpoint, "--port", "0", "--seal", other)
    assert code == 2
    assert loaded.sealed.seal in line
    assert other in line


def test_ctrl_c_ends_an_idle_server_without_a_word(checkpoint: Path) -> None:
    with (
        ServerProcess(checkpoint) as server,
        httpx.Client(base_url=server.url, timeout=None) as kept_open,
    ):
        assert kept_open.post("/predict", json={"text": "a"}).status_code == 200
        server.signal(signal.SIGINT)
        assert server.wait() == (0, [])


def test_a_second_ctrl_c_ends_it_at_once_and_says_what_was_lost(checkpoint: Path) -> None:
    with ServerProcess(checkpoint, *PATIENT) as server:
        connection, go_on = begin_request(server.address, size=100)
        with connection:
            assert go_on.startswith(b"HTTP/1.1 100 ")
            server.signal(signal.SIGINT)
            wait_until_closed(server)
            server.signal(signal.SIGINT)
            assert read_all(connection).startswith(b"HTTP/1.1 503 ")
        assert server.wait() == (1, ["error: ended before 1 request was answered"])


@pytest.mark.parametrize("options", [("--finish-seconds", "3600"), ("--finish-seconds", "0")])
def test_clients_that_were_answered_and_stay_end_without_a_word(
    checkpoint: Path, options: tuple[str, ...]
) -> None:
    """One still sends what was refused, one does not read what it asked for."""
    with ServerProcess(checkpoint, "--drain-seconds", "0", *options) as server:
        refused_one, refusal = begin_request(server.address, size=10**9)
        deaf = socket.create_connection(server.address)
        deaf.setblocking(False)
        with refused_one, deaf:
            assert refusal.startswith(b"HTTP/1.1 413 ")
            with pytest.raises(BlockingIOError):
                while True:
                    deaf.send(b"GET /openapi.json HTTP/1.1\r\nhost: test\r\n\r\n" * 100)
            server.signal(signal.SIGTERM)
            if "3600" in options:
                wait_until_closed(server)
                server.signal(signal.SIGTERM)
            assert server.wait() == (0, [])


def test_a_request_cut_off_by_its_time_is_one_line(checkpoint: Path) -> None:
    options = ("--drain-seconds", "0", "--finish-seconds", "0")
    with ServerProcess(checkpoint, *options) as server:
        connection, _ = begin_request(server.address, size=100)
        with connection:
            server.signal(signal.SIGTERM)
            assert read_all(connection).startswith(b"HTTP/1.1 503 ")
        assert server.wait() == (1, ["error: ended before 1 request was answered"])


def test_a_lost_terminal_lets_a_request_finish(checkpoint: Path, loaded: Checkpoint) -> None:
    with ServerProcess(checkpoint, *PATIENT) as server:
        body = json.dumps({"text": "in flight"}).encode()
        connection, _ = begin_request(server.address, len(body))
        with connection:
            server.signal(signal.SIGHUP)
            wait_until_closed(server)
            connection.sendall(body)
            answer = read_all(connection).partition(b"\r\n\r\n")[2]
        assert json.loads(answer) == direct(loaded, "in flight")
        assert server.wait() == (0, [])


def test_a_model_with_a_weight_that_is_not_finite_is_not_served(
    checkpoint: Path, tmp_path: Path
) -> None:
    sealed, copy = verify(checkpoint), tmp_path / "copy"
    for value in (math.nan, -math.inf):
        state = safetensors.torch.load(sealed.read("model.safetensors"))
        name = min(state)
        state[name].view(-1)[0] = value
        with sealing(copy, kind="checkpoint", inputs={}, config={}) as directory:
            for entry in sealed.manifest.files:
                (directory / entry.path).write_bytes(sealed.read(entry.path))
            weights = safetensors.torch.save(state, metadata={"format": "pt"})
            (directory / "model.safetensors").write_bytes(weights)
        code, lines = refused(copy, "--port", "0")
        assert len(lines) == 1, lines
        [line] = lines
        assert code == 2
        assert line == f"error: {copy}/model.safetensors: the weight {name} is not finite"
        shutil.rmtree(copy)


def test_a_flipped_byte_is_refused_by_the_name_of_its_file(
    checkpoint: Path, tmp_path: Path
) -> None:
    altered = tmp_path / "altered"
    shutil.copytree(checkpoint, altered)
    weights = altered / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    code, [line] = refused(altered, "--port", "0")
    assert code == 2
    assert line.startswith(f"error: {weights}: is altered")


def test_a_port_in_use_is_one_clear_line(checkpoint: Path, server: ServerProcess) -> None:
    port = server.address[1]
    assert refused(checkpoint, "--port", str(port)) == (
        2,
        [
            f"error: cannot listen on 127.0.0.1:{port}: Address already in use; "
            "choose another --host or --port"
        ],
    )
