"""One holder at a time of what still has the name."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from retort.core.locks import take_lock

_HOLDER = """
import os, sys
from pathlib import Path
from retort.core.locks import take_lock
take_lock(Path(sys.argv[1]))
print("held", flush=True)
os.read(0, 1)
"""


def test_a_lock_is_held_until_its_descriptor_is_closed(tmp_path: Path) -> None:
    for path, make in ((tmp_path, False), (tmp_path / "lock", True)):
        held = take_lock(path, make=make)
        with pytest.raises(BlockingIOError):
            take_lock(path, make=make)
        os.close(held)
        os.close(take_lock(path, make=make))


def test_a_process_that_is_killed_holds_none(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(BlockingIOError):
            take_lock(tmp_path)
        holder.kill()
        holder.wait()
        os.close(take_lock(tmp_path))


def test_what_is_gone_or_no_directory_is_not_locked(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        take_lock(tmp_path / "gone")
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "file").touch()
    for name in ("link", "file"):
        with pytest.raises(NotADirectoryError):
            take_lock(tmp_path / name)
