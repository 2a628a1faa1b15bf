"""A disk that fills up while a run trains: one clear line, and the run goes on when there is room."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from retort.core.forks.client import ADDRESS
from tests.processes.forks import TRAINING, fork_server_for
from tests.tiny.runs import seal_of, sealed, tiny_recipe, train, typed
from tests.tiny.small_disk import IN_A_NAMESPACE, may_mount

server = fork_server_for(*TRAINING)

# 1: the program, 2: where the disk comes, the rest: the arguments of the run.
DISK = """
program="$1"; place="$2"; shift 2
mount -t tmpfs -o size=2m none "$place"
"$program" -m tests.processes.with_forks run retort.train.main "$@"; echo "code $?"
ls -A "$place/run/checkpoints"
mount -o remount,size=64m "$place"
"$program" -m tests.processes.with_forks run retort.train.main "$@"; echo "code $?"
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of more checkpoints that stay than the disk has room for."""
    keeps = {"checkpoints": {"every": 2, "keep_last": 50}, "train": {"steps": 40}}
    return tiny_recipe(tmp_path_factory.mktemp("inputs"), keeps)


@pytest.fixture(scope="module")
def roomy(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The seal that a run has which finds room."""
    return sealed(train(typed(recipe, tmp_path_factory.mktemp("roomy") / "run")))


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_full_disk_stops_training_with_one_line_and_it_goes_on_after_room_was_made(
    recipe: Path, roomy: str, tmp_path: Path, processes: str
) -> None:
    place = tmp_path / "disk"
    place.mkdir()
    if not may_mount(place):
        pytest.skip("no disk can be mounted here")
    arguments = typed(recipe, place / "run", "--nproc", processes)
    # Its own server, as processes see the disks of the one that forks them.
    forks = [sys.executable, "-m", "tests.processes.with_forks", "serve", ",".join(TRAINING)]
    command = ["sh", "-c", DISK, "sh", sys.executable, str(place), *arguments]
    environment = {name: value for name, value in os.environ.items() if name != ADDRESS}
    done = subprocess.run(
        [*IN_A_NAMESPACE, *forks, *command],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    lines = done.stdout.splitlines()
    assert lines[0] == "code 2", done.stderr
    kept = lines[1:-2]
    assert kept == [f"step-{2 * number:08}" for number in range(1, len(kept) + 1)]
    assert 1 <= len(kept) < 20
    assert "Traceback" not in done.stderr
    full = [line for line in done.stderr.splitlines() if "No space left on device" in line]
    assert len(full) == 1
    assert full[0].startswith("error: ")
    assert "cannot be written: No space left on device; make room" in full[0]
    assert f"going on after step {2 * len(kept)}, from {place}/run/checkpoints" in done.stderr
    assert "skipped a checkpoint" not in done.stderr
    assert lines[-1] == "code 0", done.stderr
    assert seal_of(lines[-2]) == roomy
