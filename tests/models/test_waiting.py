"""How the threads of a process wait for each other."""

import os
import subprocess
import sys

import pytest

SHOWS = "import retort.models.determinism, torch; torch.ones(2).sum()"


@pytest.mark.parametrize(
    ("said", "spins"),
    [
        ({}, "5000"),
        ({"GOMP_SPINCOUNT": "77"}, "77"),
        ({"OMP_WAIT_POLICY": "passive"}, "0"),
        ({"OMP_WAIT_POLICY": "active"}, "30000000000"),
    ],
)
def test_threads_spin_a_little_at_a_barrier_unless_the_user_says_otherwise(
    said: dict[str, str], spins: str
) -> None:
    """libgomp itself tells what it has read."""
    ours = ("OMP_", "GOMP_")
    known = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    environment = {**known, **said, "OMP_DISPLAY_ENV": "verbose"}
    done = subprocess.run(
        [sys.executable, "-c", SHOWS], env=environment, capture_output=True, text=True, check=True
    )
    shown = [line.partition("=")[2] for line in done.stderr.splitlines() if "SPINCOUNT" in line]
    assert shown
    assert {one.strip(" '") for one in shown} == {spins}
