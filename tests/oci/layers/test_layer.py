"""Canonical layers: equal files give equal bytes, and nothing of the machine or the moment gets in."""

import json
import os
import pathlib
import random
import stat
import tarfile
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.oci.errors import ImageError
from tools.oci.image.layout import sha256_file
from tools.oci.layers import faults, layer
from tools.oci.layers.layer import Entry, Tree

_NAMES = st.text("abcXYZ019._-äß 日", min_size=1, max_size=12).filter(
    lambda name: name.strip(".") != ""
)


def _write(folder: pathlib.Path, entries: list[Entry], name: str = "one") -> pathlib.Path:
    tar = folder / f"{name}.tar"
    layer.write_layer(name, Tree(entries), tar, folder / f"{name}.json")
    return tar


def _some(folder: pathlib.Path) -> list[Entry]:
    source = folder / "source"
    source.write_bytes(b"content")
    return [
        layer.file("usr/lib/a", b"a"),
        layer.copied("usr/bin/b", source),
        layer.symlink("usr/bin/c", "b"),
        layer.directory("tmp", 0o1777),
        layer.file("usr/" + "long/" * 60 + "name", b"deep"),
        layer.file("usr/lib/größe", b"not ASCII"),
    ]


def test_a_layer_is_the_same_wherever_and_whenever_it_is_written(tmp_path: pathlib.Path) -> None:
    digests = set()
    for number, umask in enumerate((0o022, 0o077)):
        folder = tmp_path / ("deeper/" * number) / "place"
        before = os.umask(umask)
        try:
            folder.mkdir(parents=True)
            entries = _some(folder)
            os.utime(folder / "source", (number, number))
            random.Random(number).shuffle(entries)
            digests.add(sha256_file(_write(folder, layer.canonical(entries))))
        finally:
            os.umask(before)
    assert len(digests) == 1


def test_every_header_is_canonical(tmp_path: pathlib.Path) -> None:
    with tarfile.open(_write(tmp_path, layer.canonical(_some(tmp_path)))) as archive:
        members = archive.getmembers()
    assert {(m.uid, m.gid, m.uname, m.gname, m.mtime) for m in members} == {(0, 0, "", "", 0)}
    paths = [member.name.split("/") for member in members]
    assert paths == sorted(paths)
    assert {m.name: m.mode for m in members if m.name in ("tmp", "usr", "usr/lib/a")} == {
        "tmp": 0o1777,
        "usr": 0o755,
        "usr/lib/a": 0o644,
    }


@settings(deadline=None, max_examples=50)
@given(
    st.dictionaries(st.lists(_NAMES, min_size=1, max_size=4).map("/".join), st.binary(max_size=50))
)
def test_what_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]
) -> None:
    folder = tmp_path_factory.mktemp("layer")
    entries = [layer.file(path, content) for path, content in files.items()]
    try:
        ordered = layer.canonical(entries)
    except ImageError as error:
        assert "lies below" in str(error)
        return
    with tarfile.open(_write(folder, ordered)) as archive:
        found = {
            member.name: archive.extractfile(member).read()  # type: ignore[union-attr]
            for member in archive
            if member.isfile()
        }
    assert found == files
    index = json.loads((folder / "one.json").read_text())
    assert index["diff_id"] == sha256_file(folder / "one.tar")
    assert index["size"] == (folder / "one.tar").stat().st_size
    assert {path for path, entry in index["entries"].items() if entry[0] == "file"} == set(files)


def test_an_executable_stays_one(tmp_path: pathlib.Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"#!")
    program.chmod(0o700)
    assert layer.copied("bin/program", program).mode == 0o755
    program.chmod(stat.S_IRUSR)
    assert layer.copied("bin/program", program).mode == 0o644


@pytest.mark.parametrize("path", ["", "/", "../x", "a/../../x", "a//b", "./a", "a/./b", "a\0b"])
def test_a_path_that_is_none_is_refused(path: str) -> None:
    with pytest.raises(ImageError, match="not a path"):
        layer.file(path, b"")


def test_one_path_with_two_contents_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ImageError, match="/a/b is wanted twice"):
        layer.canonical([layer.file("a/b", b"1"), layer.file("a/b", b"2")])
    with pytest.raises(ImageError, match="/a/b is wanted twice"):
        layer.canonical([layer.file("a/b", b"1"), layer.file("a/b", b"1", executable=True)])
    same = tmp_path / "same"
    same.write_bytes(b"1")
    assert len(layer.canonical([layer.file("a/b", b"1"), layer.file("a/b", same)])) == 2


def test_a_file_below_a_file_or_a_link_is_refused() -> None:
    with pytest.raises(ImageError, match="/lib/x lies below /lib, which is a symlink"):
        layer.canonical([layer.symlink("lib", "usr/lib"), layer.file("lib/x", b"")])


@pytest.mark.parametrize(
    "fault", [name for name in faults.LAYER_FAULTS if name not in ("none", "gzip-header")]
)
def test_a_planted_fault_changes_the_layer(tmp_path: pathlib.Path, fault: str) -> None:
    entries = layer.canonical(layer.file(f"files/{number}", b"") for number in range(30))
    sound = sha256_file(_write(tmp_path, faults.planted(entries, "none"), "sound"))
    first = sha256_file(_write(tmp_path, faults.planted(entries, fault), "first"))
    time.sleep(0.01)
    second = sha256_file(_write(tmp_path, faults.planted(entries, fault), "second"))
    assert len({sound, first, second}) == 3
