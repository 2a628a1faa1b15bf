"""Texts of random lengths for long: what the server's processes hold does not grow."""

import random
import string
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import httpx

from tests.serve.running import ServerProcess
from tests.tiny.checkpoints import write_served

_CLIENTS = 8
_REQUESTS = 60
"""Of a client in a round."""
_TEXTS = 25
"""Of a request."""
_NOISE = 0.05
"""Share by which the memory of equal work differs from round to round."""


def soak(folder: Path, rounds: int) -> None:
    """Ask so many rounds, and compare the memory of the last third with that of the middle one.

    The server is no fork of a test's, whose memory would be partly its.
    """
    held = []
    with (
        ServerProcess(write_served(folder / "tiny", "portable"), "--cache", "500") as server,
        ThreadPoolExecutor(_CLIENTS) as pool,
    ):
        for number in range(rounds):
            seeds = range(number * _CLIENTS, (number + 1) * _CLIENTS)
            assert set(pool.map(lambda seed: ask(server.url, seed), seeds)) == {_REQUESTS * _TEXTS}
            held.append(sum(memory_of(process) for process in family(server.process.pid)))
    third = rounds // 3
    before, after = median(held[third : 2 * third]), median(held[-third:])
    assert after < before * (1 + _NOISE), [round(one / 2**20) for one in held]


def ask(url: str, seed: int) -> int:
    """How many texts were answered."""
    drawn, answered = random.Random(seed), 0
    with httpx.Client(base_url=url, timeout=None) as client:
        for _ in range(_REQUESTS):
            instances = [{"text": text_of(drawn)} for _ in range(_TEXTS)]
            found = client.post("/v1/predict", json={"instances": instances})
            assert found.status_code == 200, found.text
            answered += sum("class" in one for one in found.json()["predictions"])
    return answered


def text_of(drawn: random.Random) -> str:
    """Of one letter to far more than the model reads."""
    return (
        "".join(drawn.choices(string.ascii_lowercase + " ", k=int(drawn.expovariate(0.02)) + 1))
        + "a"
    )


def family(process: int) -> Iterator[int]:
    """A process and all that come of it."""
    yield process
    for thread in Path(f"/proc/{process}/task").iterdir():
        for child in (thread / "children").read_text(encoding="ascii").split():
            yield from family(int(child))


def memory_of(process: int) -> int:
    """Bytes of no file, of which shared ones count by their share. Those of libraries others share, and come and go."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="ascii").splitlines()
    [line] = [line for line in lines if line.startswith("Pss_Anon:")]
    return int(line.split()[1]) * 1024
