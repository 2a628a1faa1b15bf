"""Two servers behind HAProxy, restarted in turn under load: nobody notices."""

import os
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

from retort.models.checkpoint import load_checkpoint
from retort.models.predict import predict
from tests.serve.running import ServerProcess, read_all
from tests.tiny.checkpoints import write_served

HAPROXY = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin")
CLIENTS = 4
# A balancer that learns within a fifth of a second, and servers that give it two. One late answer on a busy machine
# is no sign that a server is gone: without `timeout check` a check would have to end within `inter`.
DRAIN = ("--drain-seconds", "2")
CONFIGURATION = """
global
    stats socket ipv4@127.0.0.1:{stats} level admin
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    timeout check 60s
    option httpchk GET /ready
    default-server check inter 50ms fall 4 rise 1
frontend all
    bind 127.0.0.1:{front}
    default_backend servers
backend servers
    balance roundrobin
    retries 3
    option redispatch
{servers}
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
    return port


@contextmanager
def balanced(folder: Path, ports: list[int], stats: int) -> Iterator[str]:
    """The address of a balancer before servers at these ports, which tells at another how they are."""
    assert HAPROXY is not None
    front = free_port()
    servers = "\n".join(f"    server s{port} 127.0.0.1:{port}" for port in ports)
    file = folder / "haproxy.cfg"
    file.write_text(CONFIGURATION.format(front=front, servers=servers, stats=stats))
    url = f"http://127.0.0.1:{front}"
    with subprocess.Popen([HAPROXY, "-db", "-f", str(file)], stderr=subprocess.DEVNULL) as process:
        try:
            while True:
                with suppress(httpx.TransportError):
                    if httpx.get(f"{url}/ready", timeout=None).status_code == 200:
                        break
            yield url
        finally:
            process.kill()


def wait_until_up(stats: int, port: int) -> None:
    """Ask the balancer until it has seen that a server is ready: before, the other one may not go."""
    while True:
        with socket.create_connection(("127.0.0.1", stats)) as asked:
            asked.sendall(b"show stat\n")
            table = read_all(asked).decode()
        row = next(line for line in table.splitlines() if line.startswith(f"servers,s{port},"))
        if row.split(",")[17] == "UP":
            return


def ask(url: str, client: int, stop: threading.Event) -> list[tuple[str, int, object]]:
    """Ask one text after another; each, the status and the answer."""
    found: list[tuple[str, int, object]] = []
    with httpx.Client(base_url=url, timeout=None) as connection:
        while not stop.is_set():
            text = f"{client} and {len(found)}"
            answer = connection.post("/predict", json={"text": text})
            found.append(
                (text, answer.status_code, answer.json() if answer.is_success else answer.text)
            )
    return found


def restart_in_turn(folder: Path, restarts: int) -> None:
    """Restart servers so many times, and hold every answer to what the model says."""
    checkpoint = write_served(folder / "tiny", "portable")
    ports = [free_port(), free_port()]

    def started(port: int) -> ServerProcess:
        return ServerProcess(checkpoint, *DRAIN, "--port", str(port))

    servers = [started(port) for port in ports]
    stop, stats = threading.Event(), free_port()
    with balanced(folder, ports, stats) as url, ThreadPoolExecutor(CLIENTS) as pool:
        asked = [pool.submit(ask, url, client, stop) for client in range(CLIENTS)]
        try:
            for restart in range(restarts):
                which = restart % 2
                servers[which].signal(signal.SIGTERM)
                assert servers[which].wait() == (0, [])
                servers[which] = started(ports[which])
                wait_until_up(stats, ports[which])
        finally:
            stop.set()
        answers = [answer for one in asked for answer in one.result()]
    for server in servers:
        server.kill()
    assert [answer for answer in answers if answer[1] != 200] == []
    predictions = predict(load_checkpoint(checkpoint), [text for text, _, _ in answers])
    assert [answer for _, _, answer in answers] == [
        {"label": one.label, "confidence": one.confidence} for one in predictions
    ]
    assert len(answers) > CLIENTS * restarts
