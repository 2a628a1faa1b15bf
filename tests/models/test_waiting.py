"""How the threads of a process wait for each other."""

import os
import subprocess
import sys

import pytest

SHOWS = "import retort.models.determinism, torch; torch.ones(2).sum()"


@pytest.mark.parametrize(
    ("said", "policy"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "active"}, "ACTIVE")]
)
def test_threads_sleep_at_a_barrier_unless_the_user_says_otherwise(
    said: dict[str, str], policy: str
) -> None:
    """libgomp itself tells what it has read."""
    known = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")}
    environment = {**known, **said, "OMP_DISPLAY_ENV": "true"}
    done = subprocess.run(
        [sys.executable, "-c", SHOWS], env=environment, capture_output=True, text=True, check=True
    )
    shown = [line.partition("=")[2] for line in done.stderr.splitlines() if "WAIT_POLICY" in line]
    assert shown
    assert {one.strip(" '") for one in shown} == {policy}
