"""The hub over a real socket: files at a commit, then from the cache alone; and being offline."""

import hashlib
import random
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow  # type: ignore[import-untyped]
import pytest
from datasets import Dataset  # type: ignore[import-untyped]
from pyarrow import parquet

from retort.core.errors import HubUnavailable, StorageError
from retort.data.files.hub import hub_files
from retort.data.sources.hub_datasets import stream

COMMIT = "eb185aade064a813bc0b7f42de02595523103ca4"
NAMES = [f"data/{part}-00000-of-00001.parquet" for part in ("train", "test")]
ROWS = {
    "train": [("Shares rise", 2), ("Cup won", 1), ("Chip sold", 3)],
    "test": [("Talks end", 0), ("Cup lost", 1)],
}


class _Hub(ThreadingHTTPServer):
    """As much of the hub as a client asks of it for one data set."""

    def __init__(self, files: dict[str, bytes], status: int = 200) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = files
        self.status = status

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: _Hub

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, *_arguments: object) -> None:
        pass

    def _answer(self, body: bool) -> None:
        files, path = self.server.files, self.path.split("?")[0]
        kind, content = "application/json", b""
        name = path.partition(f"/resolve/{COMMIT}/")[2]
        if self.server.status != 200:
            self.send_response(self.server.status)
        elif name in files:
            self.send_response(200)
            kind, content = "application/octet-stream", files[name]
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
        elif path == f"/api/datasets/fancyzhx/ag_news/revision/{COMMIT}":
            self.send_response(200)
            siblings = ",".join(f'{{"rfilename":"{name}"}}' for name in files)
            content = (
                f'{{"id":"fancyzhx/ag_news","sha":"{COMMIT}","private":false,"downloads":0,'
                f'"likes":0,"tags":[],"siblings":[{siblings}]}}'
            ).encode()
        elif path == f"/api/datasets/fancyzhx/ag_news/tree/{COMMIT}":
            self.send_response(200)
            entries = ",".join(
                f'{{"type":"file","path":"{name}","size":{len(data)},"oid":"{"0" * 40}"}}'
                for name, data in files.items()
            )
            content = f"[{entries}]".encode()
        else:
            self.send_response(404)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)


@pytest.fixture
def parquet_files(tmp_path: Path) -> dict[str, bytes]:
    files = {}
    for part, rows in ROWS.items():
        columns = {"text": [row[0] for row in rows], "label": [row[1] for row in rows]}
        Dataset.from_dict(columns).to_parquet(tmp_path / part)
        files[f"data/{part}-00000-of-00001.parquet"] = (tmp_path / part).read_bytes()
    return files


_MEASURED = """
import resource, sys
from pathlib import Path
from retort.data.sources.hub_datasets import stream

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

documents = stream("ag_news", sys.argv[1], Path(sys.argv[2]))
first = len(next(documents).text)
before = peak()
print(first + sum(len(one.text) for one in documents), peak() - before)
"""


@contextmanager
def serving(files: dict[str, bytes]) -> Iterator[_Hub]:
    with _Hub(files) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def hub(parquet_files: dict[str, bytes]) -> Iterator[_Hub]:
    with serving(parquet_files) as server:
        yield server


def test_a_data_set_comes_from_the_hub_once_and_then_from_the_cache(
    hub: _Hub, tmp_path: Path
) -> None:
    fetched = tuple(stream("ag_news", hub.endpoint, tmp_path / "cache"))
    assert [(one.text, one.label, one.part) for one in fetched] == [
        ("Shares rise", "Business", "train"),
        ("Cup won", "Sports", "train"),
        ("Chip sold", "Sci/Tech", "train"),
        ("Talks end", "World", "held_out"),
        ("Cup lost", "Sports", "held_out"),
    ]
    hub.status = 503
    assert tuple(stream("ag_news", hub.endpoint, tmp_path / "cache")) == fetched
    with pytest.raises(HubUnavailable):
        tuple(stream("ag_news", hub.endpoint, tmp_path / "another cache"))


def test_a_data_set_takes_no_memory_by_its_size(tmp_path: Path) -> None:
    chance = random.Random(0)
    schema = pyarrow.schema([("text", pyarrow.string()), ("label", pyarrow.int64())])
    with parquet.ParquetWriter(tmp_path / "large", schema, compression="none") as writer:
        for _ in range(100):
            texts = [chance.randbytes(500).hex() for _ in range(1000)]
            table = pyarrow.table({"text": texts, "label": [1] * 1000}, schema)
            writer.write_table(table)
    content = (tmp_path / "large").read_bytes()
    assert len(content) > 100 * 10**6
    with serving(dict.fromkeys(NAMES, content)) as server:
        done = subprocess.run(
            [sys.executable, "-c", _MEASURED, server.endpoint, str(tmp_path / "cache")],
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    characters, growth = map(int, done.stdout.split())
    assert characters == 2 * 100 * 10**6
    assert growth < 40 * 10**6


def test_a_half_filled_cache_is_not_taken_for_whole(hub: _Hub, tmp_path: Path) -> None:
    names = list(hub.files)
    one = hub_files(
        "fancyzhx/ag_news", COMMIT, names[:1], kind="dataset", endpoint=hub.endpoint, cache=tmp_path
    )
    assert not (one / names[1]).exists()
    both = hub_files(
        "fancyzhx/ag_news", COMMIT, names, kind="dataset", endpoint=hub.endpoint, cache=tmp_path
    )
    assert all((both / name).is_file() for name in names)


@pytest.mark.parametrize("status", [401, 404, 503])
def test_a_hub_that_refuses_is_unavailable(hub: _Hub, tmp_path: Path, status: int) -> None:
    hub.status = status
    with pytest.raises(HubUnavailable, match="fancyzhx/ag_news is not in the local cache"):
        tuple(stream("ag_news", hub.endpoint, tmp_path))


def test_a_cache_that_cannot_be_written_is_named(hub: _Hub, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"cache cannot be written: .*file/below"):
        tuple(stream("ag_news", hub.endpoint, tmp_path / "file" / "below"))


def test_without_a_hub_the_error_says_what_to_do(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        endpoint = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(HubUnavailable, match=r"refused.*choose a recipe that needs no hub"):
            tuple(stream("imdb", endpoint, tmp_path))
