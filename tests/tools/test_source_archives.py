"""Source archives: fetched by their hash, read without running what they hold."""

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "third_party/source_archives"
SETUP = b"import pathlib, os\npathlib.Path(os.environ['MARK']).touch()\nraise SystemExit('ran')\n"


def _archive(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """A folder with the source archive of `some-thing`, whose setup.py leaves a mark and fails."""
    files = {
        "some_thing-1.0/PKG-INFO": b"Metadata-Version: 2.1\nName: some-thing\nVersion: 1.0\n",
        "some_thing-1.0/setup.py": SETUP,
        "some_thing-1.0/LICENSE.txt": b"free\n",
        "some_thing-1.0/more/inner.tar.gz": _archive({"deep/text.txt": b"caf\xc3\xa9\n"}),
    }
    folder = tmp_path / "index"
    folder.mkdir()
    (folder / "some_thing-1.0.tar.gz").write_bytes(_archive(files))
    return folder


def _fetch(index: Path, **changed: object) -> subprocess.CompletedProcess[str]:
    (archive,) = index.iterdir()
    pin = {
        "distribution": "some-thing",
        "version": "1.0",
        "sha256": hashlib.sha256(archive.read_bytes()).hexdigest(),
        "package": "things",
        "members": ["LICENSE.txt", "more/inner.tar.gz!deep/text.txt"],
    }
    path = index.parent / "pin.json"
    path.write_text(json.dumps(pin | changed))
    base = getattr(sys, "_base_executable", sys.executable)  # a virtual environment has no pip
    return subprocess.run(
        [
            *(base, "-IB", str(FOLDER / "source_archive.py")),
            *(f"--pin={path}", f"--out={index.parent / 'out'}"),
        ],
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(index.parent),
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(index),
            "MARK": str(index.parent / "mark"),
        },
        capture_output=True,
        text=True,
        check=False,
    )


def test_wanted_files_are_taken_out_and_nothing_of_the_archive_runs(index: Path) -> None:
    done = _fetch(index)
    assert done.returncode == 0, done.stderr
    out = index.parent / "out"
    found = {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*.*")}
    assert found == {"things/LICENSE.txt": b"free\n", "things/text.txt": b"caf\xc3\xa9\n"}
    assert not (index.parent / "mark").exists()


def test_setup_py_would_have_left_its_mark(index: Path) -> None:
    """The control of the test above."""
    with tarfile.open(next(index.iterdir())) as archive:
        setup = archive.extractfile("some_thing-1.0/setup.py")
        assert setup is not None
        code = setup.read().decode()
    mark = index.parent / "mark"
    subprocess.run([sys.executable, "-c", code], env={"MARK": str(mark)}, check=False)
    assert mark.exists()


def test_other_bytes_than_those_pinned_are_refused(index: Path) -> None:
    done = _fetch(index, sha256="0" * 64)
    assert done.returncode == 2
    assert "the bytes there are not those pinned" in done.stderr
    assert not (index.parent / "out").exists()


def test_a_version_that_is_not_there_is_refused(index: Path) -> None:
    done = _fetch(index, version="1.1")
    assert done.returncode == 2
    assert "No matching distribution found for some-thing==1.1" in done.stderr


@pytest.mark.parametrize("member", ["LICENSE.md", "more/inner.tar.gz!text.txt", "LICENSE.txt!a"])
def test_a_member_that_is_not_there_is_an_error(index: Path, member: str) -> None:
    done = _fetch(index, members=[member])
    assert done.returncode == 2
    (line,) = [one for one in done.stderr.splitlines() if "some_thing-1.0.tar.gz" in one]
    assert line.startswith("error: some_thing-1.0.tar.gz is not as pin.json says: ")


@pytest.mark.parametrize("pin", sorted(FOLDER.glob("*.json")), ids=lambda path: path.stem)
def test_a_pin_is_whole(pin: Path) -> None:
    said = json.loads(pin.read_text())
    assert set(said) == {"distribution", "version", "sha256", "package", "members"}
    assert len(bytes.fromhex(said["sha256"])) == 32
    assert said["package"].isidentifier()
    names = [member.rpartition("/")[2] for member in said["members"]]
    assert names
    assert len(set(names)) == len(names)
