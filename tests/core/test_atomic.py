"""Power cuts, full disks and rivals: a directory is its old self or its new one."""

import fcntl
import os
import random
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from ctypes import CDLL
from pathlib import Path

import pytest

from retort.core import atomic
from retort.core.errors import SealError, StorageError
from retort.core.seal import read_manifest, sealing, verify

WRITER = """
import sys
from pathlib import Path
from retort.core.cli import run
from retort.core.seal import sealing, verify

def main(arguments):
    target, name, (size, rounds) = Path(arguments[0]), arguments[1], map(int, arguments[2:])
    for number in range(rounds):
        config = {"by": name, "round": number}
        with sealing(target, kind="thing", inputs={}, config=config) as directory:
            for part in "abcd":
                (directory / part).write_bytes(f"{name}{number}{part}".encode() * size)
        print("sealed", flush=True)
    return 0

if __name__ == "__main__":
    run(main)
"""
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE = 24, 1


def writer(target: Path, name: str, size: int = 1000, rounds: int = 1) -> list[str]:
    return [sys.executable, "-c", WRITER, str(target), name, str(size), str(rounds)]


def seal_one(target: Path, by: str = "test") -> str:
    with sealing(target, kind="thing", inputs={}, config={"by": by}) as directory:
        (directory / "file").write_bytes(by.encode())
    return verify(target).seal


def contents(path: Path) -> list[str]:
    return sorted(os.listdir(path))


def test_kill_at_any_moment_leaves_the_old_or_the_new_directory(tmp_path: Path) -> None:
    target = tmp_path / "thing"
    seal_one(target)
    moments = random.Random(1)
    writers = set()
    for number in range(20):
        process = subprocess.Popen(
            writer(target, f"w{number}", size=20_000, rounds=1000), stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        process.stdout.readline()  # it has sealed once: from here on it replaces its own work
        time.sleep(moments.uniform(0.0, 0.02))
        process.kill()
        process.wait()
        process.stdout.close()
        writers.add(verify(target).manifest.config["by"])
    assert writers == {f"w{number}" for number in range(20)}
    seal_one(target)
    assert contents(tmp_path) == ["thing"], "leftovers of killed writers are gone"


def test_a_reader_finds_a_directory_at_every_moment(tmp_path: Path) -> None:
    target = tmp_path / "thing"
    seal_one(target)
    process = subprocess.Popen(writer(target, "w", rounds=60), stdout=subprocess.PIPE)
    seen = set()
    while process.poll() is None:
        seen.add(read_manifest(target).to_bytes())
    assert process.communicate()[0].count(b"sealed") == 60
    assert len(seen) > 1


def test_two_writers_of_one_target_both_succeed(tmp_path: Path) -> None:
    target = tmp_path / "thing"
    processes = [
        subprocess.Popen(writer(target, name, rounds=40), stderr=subprocess.PIPE) for name in "ab"
    ]
    for process in processes:
        errors = process.communicate()[1]
        assert process.returncode == 0, errors.decode()
    assert verify(target).manifest.config["by"] in ("a", "b")
    assert contents(tmp_path) == ["thing"]


def test_the_temporary_directory_of_a_living_writer_is_left_alone(tmp_path: Path) -> None:
    target = tmp_path / "thing"
    with sealing(target, kind="thing", inputs={}, config={}) as directory:
        (directory / "slow").write_bytes(b"slow")
        seal_one(target, "fast")
        assert (directory / "slow").read_bytes() == b"slow"
    assert contents(target) == ["manifest.json", "slow"]
    assert contents(tmp_path) == ["thing"]


def test_a_file_limit_while_writing_is_a_storage_error_and_leaves_the_old(tmp_path: Path) -> None:
    target = tmp_path / "thing"
    before = seal_one(target)
    done = subprocess.run(
        writer(target, "big", size=1_000_000),
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {target}: cannot be written: File too large")
    assert done.stderr.count("\n") == 1
    assert (verify(target).seal, contents(tmp_path)) == (before, ["thing"])


def test_a_full_disk_is_a_storage_error_and_leaves_the_old(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    script = f"""
        mount -t tmpfs -o size=300k tmpfs {disk} || exit 77
        {_shell(writer(disk / "thing", "small", size=1000))} || exit 1
        {_shell(writer(disk / "thing", "big", size=1_000_000))} ; code=$?
        ls -A {disk} ; cat {disk}/thing/manifest.json ; exit $code
    """
    command = ["unshare", "--user", "--map-root-user", "--mount", "bash", "-c", script]
    if shutil.which("unshare") is None:
        pytest.skip("no unshare here")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 77 or "unshare failed" in done.stderr:
        pytest.skip(f"no mounts here: {done.stderr.strip()}")
    assert done.returncode == 2, done.stderr
    assert f"error: {disk}/thing: cannot be written: No space left on device" in done.stderr
    assert done.stdout.splitlines()[:2] == ["sealed", "thing"]
    assert '"by":"small"' in done.stdout


@pytest.mark.parametrize("below", ["thing", "deep/er/thing"])
def test_a_directory_without_permission_is_a_storage_error(tmp_path: Path, below: str) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    done = subprocess.run(
        writer(closed / below, "w"),
        capture_output=True,
        text=True,
        check=False,
        # Root may write everywhere, unless it gives up that capability.
        preexec_fn=lambda: CDLL(None).prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0),
    )
    assert done.returncode == 2, done.stderr
    assert f"closed/{below}: cannot be written: Permission denied" in done.stderr
    assert contents(closed) == []


def test_an_error_of_another_file_is_not_taken_for_one_of_storage(tmp_path: Path) -> None:
    with (
        pytest.raises(FileNotFoundError),
        sealing(tmp_path / "thing", kind="thing", inputs={}, config={}),
    ):
        (tmp_path / "thing-to-read").read_bytes()
    assert contents(tmp_path) == []


def test_without_an_exchange_the_old_directory_is_set_aside_and_removed(tmp_path: Path) -> None:
    old, new = tmp_path / "thing", tmp_path / ".thing.sealing-1"
    for path in (old, new):
        path.mkdir()
        (path / path.name).touch()
    atomic._set_aside_and_rename(new, old)
    assert contents(tmp_path) == ["thing"]
    assert contents(old) == [".thing.sealing-1"]


def test_without_an_exchange_a_failed_rename_puts_the_old_directory_back(tmp_path: Path) -> None:
    old = tmp_path / "thing"
    before = seal_one(old)
    with pytest.raises(FileNotFoundError):
        atomic._set_aside_and_rename(tmp_path / "never-written", old)
    assert (verify(old).seal, contents(tmp_path)) == (before, ["thing"])


def test_a_directory_set_aside_by_a_killed_writer_comes_back(tmp_path: Path) -> None:
    target = tmp_path / "thing"
    before = seal_one(target)
    target.rename(tmp_path / ".thing.aside-0123")
    with (
        pytest.raises(SealError, match="holds a sealed thing"),
        sealing(target, kind="other", inputs={}, config={}),
    ):
        pass
    assert (verify(target).seal, contents(tmp_path)) == (before, ["thing"])


def test_a_locked_leftover_stays_and_an_unlocked_one_goes(tmp_path: Path) -> None:
    leftover = tmp_path / ".thing.sealing-0123"
    leftover.mkdir()
    (leftover / "half").touch()
    lock = os.open(leftover, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    seal_one(tmp_path / "thing")
    assert leftover.is_dir()
    os.close(lock)
    seal_one(tmp_path / "thing")
    assert not leftover.exists()


def test_names_with_odd_characters_do_not_confuse_the_cleaner(tmp_path: Path) -> None:
    seal_one(tmp_path / "thing")
    (tmp_path / ".thing.sealing-1").mkdir()
    seal_one(tmp_path / "th[i]ng*")
    assert contents(tmp_path) == [".thing.sealing-1", "th[i]ng*", "thing"]
    with pytest.raises(StorageError, match="choose another place"):
        seal_one(Path("/"))


def _shell(command: Sequence[str]) -> str:
    return " ".join("'" + word.replace("'", "'\\''") + "'" for word in command)
