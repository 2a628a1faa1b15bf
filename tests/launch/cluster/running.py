"""Clusters for tests, in this process or in one of their own, and the real kubectl before them."""

import json
import os
import queue
import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from kubernetes import client, config, watch

from retort.core.forks.client import run, start
from retort.launch.cluster.cluster import HISTORY, Cluster
from retort.launch.cluster.serving.serving import bind
from tools.python.wheel_programs import wheel_program

MAIN = "retort.launch.cluster.main"


class Kubectl:
    """kubectl as a user of a cluster types it, in a directory and with a home of its own."""

    def __init__(self, kubeconfig: Path, place: Path) -> None:
        self.place = place
        self._environment = {
            **os.environ,
            "HOME": str(place),
            "KUBECONFIG": str(kubeconfig),
            "KUBECTL_EXTERNAL_DIFF": "diff -u",
        }
        self._program = wheel_program("kubectl")

    def __call__(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self._program, *words],
            input=stdin,
            env=self._environment,
            cwd=self.place,
            capture_output=True,
            text=True,
            check=False,
        )

    def said(self, *words: str, stdin: str = "") -> str:
        """What it prints, when it succeeds."""
        done = self(*words, stdin=stdin)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout

    def refused(self, *words: str, stdin: str = "") -> str:
        """What it complains of, when it fails."""
        done = self(*words, stdin=stdin)
        assert done.returncode != 0, (words, done.stdout, done.stderr)
        return done.stderr

    def json(self, *words: str) -> Any:
        """An object, or a list of them."""
        return json.loads(self.said(*words, "-o", "json"))

    @contextmanager
    def started(self, *words: str) -> Iterator["subprocess.Popen[str]"]:
        """While it runs: its output is read by the test."""
        process = subprocess.Popen(
            [self._program, *words],
            env=self._environment,
            cwd=self.place,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        with process:
            try:
                yield process
            finally:
                process.kill()


def running(directory: Path, history: int = HISTORY) -> Cluster:
    """A cluster in this process."""
    return Cluster(directory, bind("127.0.0.1", 0), history)


_config: Any = config
_watch: Any = watch


def api_client(kubeconfig: Path) -> Any:
    """The Kubernetes client, for a cluster. Its types say of most that it may not be there."""
    return _config.new_client_from_config(str(kubeconfig))


def core_client(kubeconfig: Path) -> Any:
    """The client of core kinds."""
    return client.CoreV1Api(api_client(kubeconfig))


def watched(listing: Any, *words: str, **options: str) -> Iterator[tuple[str, Any]]:
    """What a watch tells: types of events and objects. Whoever breaks off ends it."""
    stream = _watch.Watch()
    for event in stream.stream(listing, *words, **options):
        yield event["type"], event["object"]


class ClusterProcess:
    """`//launch:cluster` in a process. `ready` is the line that it says when it answers."""

    def __init__(self, directory: Path, *options: str, before: tuple[str, ...] = ()) -> None:
        self.kubeconfig = directory / "kubeconfig"
        said, says = os.pipe()
        words = [*before, MAIN, "--directory", str(directory), *options]
        self.process = start(words, stderr=says)
        os.close(says)
        self._said = os.fdopen(said, encoding="utf-8")
        self.lines: list[str] = []
        self._ready: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.ready = self._ready.get()
        if not self.ready:
            raise AssertionError(f"the cluster did not start: {self.lines}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def url(self) -> str:
        found = re.search(r"https://[\d.]+:\d+", self.ready)
        assert found, self.ready
        return found.group()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def ended_by(self, number: int) -> tuple[int, list[str]]:
        """Its exit code after a signal, and what it said after it was ready."""
        self.process.send_signal(number)
        code = self.process.wait()
        self._reader.join()
        return code, self.lines[self.lines.index(self.ready) + 1 :]

    def _read(self) -> None:
        with self._said:
            for line in self._said:
                self.lines.append(line.rstrip("\n"))
                if line.startswith("ready: "):
                    self._ready.put(self.lines[-1])
        self._ready.put("")


def refused(*words: str) -> list[str]:
    """The lines of a cluster that must not start, by the user's mistake."""
    ended = run([MAIN, *words], dict(os.environ))
    assert ended.returncode == 2, (ended.returncode, ended.stderr)
    assert ended.stdout == ""
    return ended.stderr.splitlines()
