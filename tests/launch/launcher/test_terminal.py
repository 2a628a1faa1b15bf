"""On a terminal: questions, and progress as one line that is drawn anew."""

import fcntl
import itertools
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from retort.launch.cluster.cluster import Cluster
from tests.launch.cluster.running import running
from tests.launch.launcher.playing import LAUNCHER, PYTORCHJOB, SEAL, Played

NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running(tmp_path_factory.mktemp("cluster")) as one:
        yield one


@pytest.fixture
def played(cluster: Cluster, tmp_path: Path) -> Played:
    return Played(cluster, f"team-{next(NUMBERS)}", tmp_path)


class Terminal:
    """A command on a terminal of 100 columns."""

    def __init__(self, played: Played, *words: object) -> None:
        self._own, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
        environment = {
            **played.environment(),
            "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path)),
            "TERM": "xterm",
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", LAUNCHER, *played.words_of(words)],
            env=environment,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        self.said = ""

    def until(self, text: str) -> None:
        """Return when it has said something."""
        while text not in self.said:
            piece = self._read()
            assert piece, f"it ended without {text!r}: {self.said}"
            self.said += piece

    def answer(self, text: str) -> None:
        """Type a line."""
        os.write(self._own, f"{text}\n".encode())

    def end(self) -> int:
        """Its exit code, when all was read."""
        while piece := self._read():
            self.said += piece
        os.close(self._own)
        return self._process.wait()

    def _read(self) -> str:
        try:
            return os.read(self._own, 65536).decode("utf-8", "replace")
        except OSError:  # the other side is closed
            return ""


@pytest.mark.parametrize(("answer", "code"), [("n", 1), ("", 1), ("y", 0)])
def test_launching_is_asked_for(played: Played, answer: str, code: int) -> None:
    terminal = Terminal(played, "launch", played.job_file())
    terminal.until("Launch it? [y/N] ")
    terminal.answer(answer)
    assert terminal.end() == code
    found = played.registry.find(PYTORCHJOB, played.namespace, "news")
    assert (found is not None) == (answer == "y")


def test_progress_is_one_line_and_what_others_say_stays_as_it_is(played: Played) -> None:
    job = played.launch()
    pods = played.make_pods(job)
    terminal = Terminal(played, "watch", "news")
    played.runs(*pods)
    played.says(pods[0], "step 1/30  loss 2.5000  lr 1.00e-03  9.0 samples/s")
    terminal.until("step 1/30  loss 2.5000  2/2 pods")
    played.says(pods[0], "step 29/30  loss 0.5000  lr 1.00e-03  9.0 samples/s")
    terminal.until("step 29/30")
    # Square brackets, which a policy writes, are no markup.
    message = "admission webhook denied the request: [pods] container [/main] has no limit"
    played.removes(pods[1])
    played.event(PYTORCHJOB, "news", "FailedCreatePod", message)
    terminal.until("[/main]")
    played.says(pods[0], f"seal {SEAL} /runs/news/checkpoint")
    played.ends(pods[0], 0)
    played.condition("news", "Succeeded")
    assert terminal.end() == 0
    assert "[pods]" in terminal.said
    assert "━" in terminal.said
    last = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", terminal.said).splitlines()[-1]
    assert last == f"seal {SEAL} /runs/news/checkpoint"
