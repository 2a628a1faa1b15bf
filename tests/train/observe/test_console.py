"""Progress: lines where there is no terminal, a bar where there is one."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import pytest

from retort.train.observe.console import Console
from retort.train.observe.step import Step
from retort.train.observe.timings import OTHER, Timing
from retort.train.timing.phases import PHASES

TIMING = Timing(
    step=2,
    steps=2,
    seconds=2.0,
    samples_per_second=40.0,
    tokens_per_second=4321.0,
    mfu=0.321,
    memory_bytes=100,
    device_memory_bytes=0,
    shares={**dict.fromkeys(PHASES, 0.0), OTHER: 1.0},
)
_WATCHED = """
from retort.train.timing.phases import PHASES
from retort.train.observe.console import Console
from retort.train.observe.step import Step
from retort.train.observe.timings import OTHER, Timing

shares = {**dict.fromkeys(PHASES, 0.0), OTHER: 1.0}
shown = Console(30, 26)
for number in range(27, 31):
    shown.step(Step(number, 1 / number, (1 / number,), 2e-5, 2.0, 8, 80))
    shown.timing(Timing(number, 1, 2.0, 40.0, 4321.0, 0.321, 100, 0, shares))
    if number == 28:
        shown.evaluation(28, {"accuracy": 0.9625})
shown.close()
"""


def step(number: int) -> Step:
    return Step(number, 1 / number, (1 / number,), 2e-5, 2.0, samples=8, tokens=80)


def test_lines_name_the_first_step_after_a_resume_and_the_last(
    capsys: pytest.CaptureFixture[str],
) -> None:
    shown = Console(30, 26)
    for number in range(27, 31):
        shown.step(step(number))
        shown.timing(TIMING)
    shown.close()
    out, errors = capsys.readouterr()
    assert out == ""
    first, last = errors.splitlines()
    pattern = r"step {}/30  loss {}  lr 2\.00e-05  [\d.]+ samples/s{}  \d+ s left"
    assert re.fullmatch(pattern.format(27, r"0\.0370", ""), first)
    assert re.fullmatch(pattern.format(30, r"0\.0333", r"  4,321 tokens/s  MFU 32\.1%"), last)
    assert last.endswith("  0 s left")


def test_the_time_left_is_judged_by_the_steps_of_this_process(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 1000, 2))  # two seconds between any two looks at it
    monkeypatch.setattr("retort.core.progress.monotonic", lambda: float(next(clock)))
    shown = Console(120, 100)
    shown.step(step(101))
    seconds = float(capsys.readouterr().err.split()[-3])
    # Four seconds for the one step of this process, and 19 steps to go.
    assert seconds == 19 * 4


def test_an_evaluation_has_a_line_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    shown = Console(30, 0)
    shown.evaluation(10, {"accuracy": 0.9625, "loss": 0.125})
    shown.close()
    assert capsys.readouterr().err == "step 10  evaluation  accuracy 0.9625  loss 0.1250\n"


def test_a_terminal_has_a_bar_that_begins_where_the_run_goes_on() -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 160, 0, 0))
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "TERM": "xterm-256color",
    }
    command = [sys.executable, "-c", _WATCHED]
    done = subprocess.run(command, stderr=theirs, env=environment, check=False)
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 65536):
            shown += piece
    except OSError:  # how a terminal that nobody writes to any more ends
        pass
    os.close(ours)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    assert done.returncode == 0, text
    assert "26/30" in text or "27/30" in text
    assert "30/30" in text
    assert "loss 0.0333" in text
    assert "4,321 tokens/s  MFU 32.1%" in text
    assert "step 28  evaluation  accuracy 0.9625" in text
