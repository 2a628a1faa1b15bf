"""Clusters for tests, in this process or in one of their own, and the real kubectl before them."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kubernetes import client, config, watch

from retort.core.forks.client import run
from retort.launch.cluster.cluster import HISTORY, Cluster
from retort.launch.cluster.serving.serving import bind
from tests.processes.ready import ReadyProcess
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


class ClusterProcess(ReadyProcess):
    """`//launch:cluster` in a process."""

    def __init__(self, directory: Path, *options: str, before: tuple[str, ...] = ()) -> None:
        self.kubeconfig = directory / "kubeconfig"
        super().__init__([*before, MAIN, "--directory", str(directory), *options])

    def ended_by(self, number: int) -> tuple[int, list[str]]:
        """Its exit code after a signal, and what it said after it was ready."""
        self.signal(number)
        return self.wait()


def refused(*words: str) -> list[str]:
    """The lines of a cluster that must not start, by the user's mistake."""
    ended = run([MAIN, *words], dict(os.environ))
    assert ended.returncode == 2, (ended.returncode, ended.stderr)
    assert ended.stdout == ""
    return ended.stderr.splitlines()
