"""Clients of a server, in a process of their own.

python -m benchmarks.serve.load PORT CLIENTS SECONDS TEXTS [RATE]

Each asks as soon as it is answered (a closed loop). With RATE, texts come by themselves, so many a second, whether
those before them were answered or not (an open loop); what waits for a client that is free waits in what is measured.
"""

import asyncio
import json
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel

_WARM_UP_SHARE = 0.2
"""Of the time, in the beginning, which does not count."""


class Measured(BaseModel):
    """What clients saw.

    Attributes:
        seconds: that were counted.
        texts: answered in them.
        latencies: of each answer, in seconds, sorted.
        labels: of the first texts, by whoever asked first.
        failed: answers that were not 200.
    """

    seconds: float
    texts: int
    latencies: list[float]
    labels: list[str]
    failed: int

    def quantile(self, share: float) -> float:
        """The latency that this share of answers was within, in seconds."""
        return self.latencies[min(int(share * len(self.latencies)), len(self.latencies) - 1)]


class _Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def ask(self, text: str) -> tuple[int, bytes]:
        body = json.dumps({"text": text}).encode()
        head = (
            "POST /predict HTTP/1.1\r\nhost: benchmark\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\n\r\n"
        )
        self._writer.write(head.encode() + body)
        lines = (await self._reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
        headers = {
            name.lower(): value for name, _, value in (line.partition(b":") for line in lines[1:])
        }
        answer = await self._reader.readexactly(int(headers[b"content-length"]))
        return int(lines[0].split()[1]), answer


async def measure(port: int, clients: int, seconds: float, texts: Sequence[str]) -> Measured:
    """Ask for so long."""
    opened = [_Client(*await asyncio.open_connection("127.0.0.1", port)) for _ in range(clients)]
    labels = [json.loads((await opened[0].ask(text))[1])["label"] for text in texts[:50]]
    begun = time.perf_counter()
    counted_from, until = begun + _WARM_UP_SHARE * seconds, begun + seconds
    latencies: list[float] = []
    failed = 0

    async def ask_on(number: int, client: _Client) -> None:
        nonlocal failed
        drawn = random.Random(number)
        while (asked := time.perf_counter()) < until:
            status, _ = await client.ask(drawn.choice(texts))
            answered = time.perf_counter()
            failed += status != 200
            if counted_from <= answered < until:
                latencies.append(answered - asked)

    await asyncio.gather(*(ask_on(number, client) for number, client in enumerate(opened)))
    return Measured(
        seconds=until - counted_from,
        texts=len(latencies),
        latencies=sorted(latencies),
        labels=labels,
        failed=failed,
    )


async def measure_at(
    port: int, clients: int, seconds: float, texts: Sequence[str], rate: float
) -> Measured:
    """Ask about `rate` texts a second, on average, at the times of a Poisson process."""
    free: asyncio.Queue[_Client] = asyncio.Queue()
    for _ in range(clients):
        free.put_nowait(_Client(*await asyncio.open_connection("127.0.0.1", port)))
    drawn = random.Random(0)
    begun = time.perf_counter()
    counted_from, until = begun + _WARM_UP_SHARE * seconds, begun + seconds
    latencies: list[float] = []
    failed = 0

    async def ask_at(comes: float, text: str) -> None:
        nonlocal failed
        client = await free.get()
        status, _ = await client.ask(text)
        free.put_nowait(client)
        failed += status != 200
        if comes >= counted_from:
            latencies.append(time.perf_counter() - comes)

    comes = begun
    async with asyncio.TaskGroup() as group:
        while (comes := comes + drawn.expovariate(rate)) < until:
            await asyncio.sleep(max(0.0, comes - time.perf_counter()))
            group.create_task(ask_at(comes, drawn.choice(texts)))
    return Measured(
        seconds=until - counted_from,
        texts=len(latencies),
        latencies=sorted(latencies),
        labels=[],
        failed=failed,
    )


def main() -> None:
    """Measure, and say it as JSON."""
    port, clients, seconds, file, *rate = sys.argv[1:]
    texts = json.loads(Path(file).read_text(encoding="utf-8"))
    asked = (int(port), int(clients), float(seconds), texts)
    found = asyncio.run(measure_at(*asked, float(rate[0])) if rate else measure(*asked))
    print(found.model_dump_json())


if __name__ == "__main__":
    main()
