"""Answers that servers know, of their own and of each other: the bits are those that are computed."""

from pathlib import Path

import httpx
import pytest

from retort.models.checkpoint import load_checkpoint
from tests.processes.forks import fork_server_for
from tests.serve.redis_server import REDIS, RedisServer
from tests.serve.running import TEXTS, ServerProcess, direct, refused
from tests.tiny.checkpoints import write_served

forks = fork_server_for("retort.serve.main", "retort.serve.engine.model_process")


def figure(client: httpx.Client, name: str) -> float:
    lines = client.get("/metrics").text.splitlines()
    [value] = [line.split()[1] for line in lines if line.startswith(f"retort_serve_{name}{{")]
    return float(value)


def asked(client: httpx.Client) -> list[object]:
    answers = [client.post("/predict", json={"text": text}) for text in TEXTS]
    assert {answer.status_code for answer in answers} == {200}
    return [answer.json() for answer in answers]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_served(tmp_path_factory.mktemp("checkpoints") / "tiny", "portable")


def test_what_was_answered_is_not_computed_again_unless_nothing_is_kept(checkpoint: Path) -> None:
    loaded = load_checkpoint(checkpoint)
    expected = [direct(loaded, text) for text in TEXTS]
    for options, computed in (([], len(TEXTS)), (["--cache", "0"], 3 * len(TEXTS))):
        with (
            ServerProcess(checkpoint, *options) as server,
            httpx.Client(base_url=server.url, timeout=None) as client,
        ):
            for _ in range(3):
                assert asked(client) == expected
            assert figure(client, "texts_total") == computed
            assert figure(client, "known_texts_total") == (3 * len(TEXTS) - computed)


@pytest.mark.skipif(REDIS is None, reason="needs Debian's redis-server")
def test_servers_share_what_they_know_and_go_on_when_it_is_lost(
    checkpoint: Path, tmp_path: Path
) -> None:
    loaded = load_checkpoint(checkpoint)
    expected = [direct(loaded, text) for text in TEXTS]
    with RedisServer(tmp_path) as redis:
        options = ("--redis", f"{redis.url}?socket_timeout=60&timeout=60")
        with (
            ServerProcess(checkpoint, *options) as first,
            httpx.Client(base_url=first.url, timeout=None) as client,
        ):
            assert asked(client) == expected
            with redis.client() as kept:
                while len(kept.keys("retort:*")) < len(TEXTS):
                    pass
        with (
            ServerProcess(checkpoint, *options) as second,
            httpx.Client(base_url=second.url, timeout=None) as client,
        ):
            assert asked(client) == expected
            assert figure(client, "texts_total") == 0
            assert figure(client, "shared_texts_total") == len(TEXTS)
            redis.kill()
            more = client.post("/predict", json={"text": "nobody has asked this"})
            assert (more.status_code, more.json()) == (
                200,
                direct(loaded, "nobody has asked this"),
            )
            assert asked(client) == expected
            assert figure(client, "store_failures_total") >= 1


def test_a_redis_that_is_not_there_is_told_and_no_reason_not_to_serve(checkpoint: Path) -> None:
    with (
        ServerProcess(checkpoint, "--redis", "redis://:secret@127.0.0.1:1/0") as server,
        httpx.Client(base_url=server.url, timeout=None) as client,
    ):
        assert len(asked(client)) == len(TEXTS)
        server.kill()
        _, lines = server.wait()
    [said] = [line for line in lines if "redis" in line]
    assert "redis://127.0.0.1:1/0 does not answer" in said
    assert "secret" not in said


def test_an_address_that_is_none_of_a_redis_is_refused(checkpoint: Path) -> None:
    code, [line] = refused(checkpoint, "--redis", "http://somewhere")
    assert code == 2
    assert "--redis: " in line
