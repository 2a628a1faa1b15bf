"""kubectl for one cluster, as a person types it."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from retort.core.errors import RetortError
from tools.python.wheel_programs import wheel_program

Object = dict[str, Any]


class KubectlError(RetortError):
    """kubectl could not do what it was told."""


class Kubectl:
    """The kubectl that the locks pin.

    Args:
        kubeconfig: the file by which it finds the cluster.
    """

    def __init__(self, kubeconfig: Path) -> None:
        self._program = wheel_program("kubectl")
        self._environment = {**os.environ, "KUBECONFIG": str(kubeconfig)}

    def said(self, *words: str) -> str:
        """What it prints.

        Raises:
            KubectlError: it failed; its own words are there.
        """
        done = subprocess.run(
            [self._program, *words],
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise KubectlError(f"kubectl {' '.join(words)}: {done.stderr.strip()}")
        return done.stdout

    def json(self, *words: str) -> Object:
        """The object, or the list, that it prints."""
        found: Object = json.loads(self.said(*words, "--output=json"))
        return found

    @contextmanager
    def lines(self, *words: str) -> Iterator[Iterator[str]]:
        """What it prints, line by line; it is ended with the context."""
        process = subprocess.Popen(
            [self._program, *words],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # Its end is told by what is watched.
            text=True,
        )
        with process:
            try:
                assert process.stdout is not None
                yield iter(process.stdout)
            finally:
                process.kill()

    @contextmanager
    def watched(self, *words: str) -> Iterator[Iterator[Object]]:
        """Objects as they are, and as they become, without an end."""
        with self.lines("get", *words, "--watch", "--output=json") as lines:
            yield _documents(lines)


def _documents(lines: Iterator[str]) -> Iterator[Object]:
    """JSON objects, one after the other, as kubectl indents them."""
    text = ""
    for line in lines:
        text += line
        if line.rstrip("\n") == "}":
            yield json.loads(text)
            text = ""
