"""The file of a server's models: what it may say, and a running server that follows it."""

import itertools
import signal
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from retort.core.errors import ConfigError
from retort.models.checkpoint import load_checkpoint
from retort.models.predict import predict
from retort.serve.models.catalogue import Named, Shadow
from retort.serve.models.loading import Version
from retort.serve.models.watching import read
from tests.processes.forks import fork_server_for
from tests.processes.ready import ReadyProcess
from tests.tiny.checkpoints import write_exported, write_served

forks = fork_server_for("retort.serve.main", "retort.serve.engine.model_process")
SEAL = "sha256:" + "0" * 64
TEXTS = [f"text {number}" for number in range(20)]


def written(folder: Path, text: str) -> Path:
    """As one replaces a file that others read: at once."""
    new = folder / "new.yaml"
    new.write_text(text, encoding="utf-8")
    return new.rename(folder / "models.yaml")


def test_the_file_names_models_and_shadows(tmp_path: Path) -> None:
    text = f"""
models:
  news: {{checkpoint: a, seal: "{SEAL}", shadow: {{checkpoint: /b, precision: bfloat16, share: 0.1}}}}
  film: {{checkpoint: c}}
default: film
memory_mib: 2048
"""
    found = read(written(tmp_path, text))
    assert found.named() == {
        "news": Named(
            Version(tmp_path / "a", SEAL), Shadow(Version(Path("/b"), None, "bfloat16"), 0.1)
        ),
        "film": Named(Version(tmp_path / "c")),
    }
    assert (found.first, found.memory) == ("film", 2**31)
    assert read(written(tmp_path, "models: {b: {checkpoint: x}, a: {checkpoint: y}}")).first == "b"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("models: {}", "models"),
        ("models: {m: {}}", "models.m.checkpoint"),
        ("models: {m: {checkpoint: a, seals: b}}", "models.m.seals"),
        ("models: {m: {checkpoint: a, seal: b}}", "models.m.seal"),
        ("models: {m/n: {checkpoint: a}}", "models"),
        ("models: {m: {checkpoint: a, precision: int4}}", "models.m.precision"),
        ("models: {m: {checkpoint: a, shadow: {checkpoint: b}}}", "models.m.shadow.share"),
        (
            "models: {m: {checkpoint: a, shadow: {checkpoint: b, share: 2}}}",
            "models.m.shadow.share",
        ),
        ("models: {m: {checkpoint: a}}\ndefault: n", "n is none of the models"),
        ("models: {m: {checkpoint: a}}\nmemory_mib: 0", "memory_mib"),
        ("models: [", "models.yaml"),
    ],
)
def test_what_is_wrong_in_the_file_is_named(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError) as raised:
        read(written(tmp_path, text))
    assert told in str(raised.value)


class Asking:
    """Clients that ask without a pause, and hold each answer to what the version says that gave it."""

    def __init__(self, url: str, known: Mapping[str, Sequence[float]]) -> None:
        """
        Args:
            known: of each version, by its seal, the probabilities of the answers to `TEXTS`.
        """
        self._url, self._known = url, known
        self._stop = threading.Event()

    def stop(self) -> None:
        """Have them end."""
        self._stop.set()

    def ask(self, start: int) -> set[str]:
        """The versions that have answered one of them."""
        seen = set()
        with httpx.Client(base_url=self._url, timeout=None) as own:
            for number in itertools.count(start):
                at = number % len(TEXTS)
                tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": [TEXTS[at]]}
                answer = own.post("/v2/models/m/infer", json={"inputs": [tensor]})
                assert answer.status_code == 200, answer.text
                version = answer.json()["model_version"]
                [probability] = answer.json()["outputs"][1]["data"]
                assert probability == self._known[version][at]
                seen.add(version)
                if self._stop.is_set():
                    break
        return seen


def test_models_are_replaced_and_put_back_while_others_ask(tmp_path: Path) -> None:
    """No request fails, and each is answered by a model that was named; a wrong file changes nothing."""
    write_served(tmp_path / "tiny", "portable")
    write_exported(tmp_path / "int8", tmp_path / "tiny", "int8")
    loaded = [load_checkpoint(tmp_path / name) for name in ("tiny", "int8")]
    known = {one.sealed.seal: [said.confidence for said in predict(one, TEXTS)] for one in loaded}
    first, second = known
    (tmp_path / "broken").mkdir()
    file = written(tmp_path, "models: {m: {checkpoint: tiny}}")
    with (
        ReadyProcess(["retort.serve.main", "--models", str(file), "--port", "0"]) as server,
        httpx.Client(base_url=server.url, timeout=None) as client,
        ThreadPoolExecutor(3) as pool,
    ):
        asking = Asking(server.url, known)
        asked = [pool.submit(asking.ask, start) for start in range(3)]
        try:
            follow(tmp_path, client, server, (first, second))
        finally:
            asking.stop()
        assert set.union(*(one.result() for one in asked)) == {first, second}
        server.signal(signal.SIGTERM)
        code, lines = server.wait()
    assert code == 0
    assert sum("stay as they were" in line for line in lines) == 1
    assert not any("Traceback" in line for line in lines)


def follow(
    folder: Path, client: httpx.Client, server: ReadyProcess, seals: tuple[str, str]
) -> None:
    """One change after another, each until it is seen."""
    first, second = seals

    def wait_for(seal: str) -> None:
        while client.get("/health").json()["seal"] != seal:
            assert client.get("/ready").status_code == 200

    wait_for(first)
    written(folder, f"models: {{m: {{checkpoint: int8, seal: '{second}'}}}}")
    wait_for(second)
    written(folder, "models: {m: {checkpoint: broken}}")
    while not any("stay as they were" in line for line in server.lines):
        assert client.get("/health").json()["seal"] == second
    written(folder, "models: {m: {checkpoint: tiny}, n: {checkpoint: int8}}")
    wait_for(first)
    assert client.get("/v2/models/n").json()["versions"] == [second]
    written(folder, "models: {m: {checkpoint: tiny, shadow: {checkpoint: int8, share: 1}}}")
    while client.get("/v2/models/n").status_code == 200:
        pass
    while shadowed(client) < len(TEXTS):
        pass


def shadowed(client: httpx.Client) -> float:
    lines = client.get("/metrics").text.splitlines()
    found = [
        line for line in lines if line.startswith('retort_serve_shadow_texts_total{model="m",')
    ]
    return float(found[0].split()[1]) if found else 0
