"""Clients of a server, in a process of their own: each asks as soon as it is answered (a closed loop).

python -m benchmarks.serve.load PORT CLIENTS SECONDS TEXTS
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


def main() -> None:
    """Measure, and say it as JSON."""
    port, clients, seconds, file = sys.argv[1:]
    texts = json.loads(Path(file).read_text(encoding="utf-8"))
    found = asyncio.run(measure(int(port), int(clients), float(seconds), texts))
    print(found.model_dump_json())


if __name__ == "__main__":
    main()
