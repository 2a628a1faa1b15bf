"""Sealed directories: what is written is what is read, and anything else is refused by name."""

import hashlib
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retort.core.digest import open_regular, sha256_file
from retort.core.errors import SealError, StorageError, UserError
from retort.core.seal import Sealed, remember, sealing, verify

FILES = {"model.bin": bytes(range(256)), "labels.json": b"[]", "sub/notes.txt": b"x"}
INPUTS = {"dataset": "sha256:" + "0" * 64}


def write(
    target: Path, files: Mapping[str, bytes] = FILES, kind: str = "thing", config: str = "a"
) -> Sealed:
    with sealing(target, kind=kind, inputs=INPUTS, config={"name": config}) as directory:
        for name, content in files.items():
            (directory / name).parent.mkdir(exist_ok=True)
            (directory / name).write_bytes(content)
    return verify(target)


def flip(file: Path, at: int) -> None:
    content = bytearray(file.read_bytes())
    content[at % len(content)] ^= 1 << (at % 8)
    file.write_bytes(bytes(content))


def truncate(file: Path, at: int) -> None:
    os.truncate(file, at % file.stat().st_size)


def remove(file: Path, _at: int) -> None:
    file.unlink()


def append(file: Path, at: int) -> None:
    with file.open("ab") as stream:
        stream.write(bytes([at % 256]))


def rename(file: Path, at: int) -> None:
    file.rename(file.with_name(f"renamed{at}"))


def link_elsewhere(file: Path, _at: int) -> None:
    copy = file.parents[2] / f"copy-of-{file.name}"
    shutil.copy(file, copy)
    file.unlink()
    file.symlink_to(copy)


DAMAGE = [flip, truncate, remove, append, rename, link_elsewhere]


def test_a_sealed_directory_says_what_it_is(tmp_path: Path) -> None:
    sealed = write(tmp_path / "thing")
    assert (sealed.kind, sealed.manifest.inputs, sealed.path.name) == ("thing", INPUTS, "thing")
    assert {file.path: sealed.read(file.path) for file in sealed.manifest.files} == FILES


def test_the_seal_is_the_digest_of_the_manifest_file(tmp_path: Path) -> None:
    sealed = write(tmp_path / "thing")
    content = (tmp_path / "thing" / "manifest.json").read_bytes()
    assert sealed.seal == f"sha256:{hashlib.sha256(content).hexdigest()}"


def test_equal_work_has_an_equal_seal_wherever_and_whenever(tmp_path: Path) -> None:
    first = write(tmp_path / "thing")
    before = os.umask(0o077)
    try:
        second = write(tmp_path / "deep" / "er" / "other", dict(reversed(FILES.items())))
    finally:
        os.umask(before)
    os.utime(tmp_path / "thing" / "labels.json", (0, 0))
    assert first.seal == second.seal == verify(tmp_path / "thing").seal


def test_other_work_has_another_seal(tmp_path: Path) -> None:
    seals = {
        write(tmp_path / "a").seal,
        write(tmp_path / "b", kind="other").seal,
        write(tmp_path / "c", config="b").seal,
        write(tmp_path / "d", FILES | {"labels.json": b"{}"}).seal,
        write(tmp_path / "e", {"renamed": b"x"}).seal,
    }
    assert len(seals) == 5


@settings(deadline=None, max_examples=60)
@given(
    damage=st.sampled_from(DAMAGE), name=st.sampled_from(sorted(FILES)), at=st.integers(0, 10_000)
)
def test_damage_to_any_file_is_refused_by_its_name(
    tmp_path_factory: pytest.TempPathFactory,
    damage: Callable[[Path, int], None],
    name: str,
    at: int,
) -> None:
    target = tmp_path_factory.mktemp("damage") / "in" / "thing"
    write(target)
    damage(target / name, at)
    with pytest.raises(SealError, match=name):
        verify(target)


@settings(deadline=None, max_examples=60)
@given(damage=st.sampled_from(DAMAGE), at=st.integers(0, 10_000))
def test_damage_to_the_manifest_is_refused(
    tmp_path_factory: pytest.TempPathFactory, damage: Callable[[Path, int], None], at: int
) -> None:
    target = tmp_path_factory.mktemp("damage") / "in" / "thing"
    before = write(target).seal
    damage(target / "manifest.json", at)
    # A flipped bit of, say, the configuration may leave a well-formed manifest: another seal then.
    try:
        after = verify(target).seal
    except SealError as error:
        assert str(target) in str(error)
    else:
        assert damage is flip
        assert after != before


@pytest.mark.parametrize("name", ["extra.txt", "sub/extra.txt", ".hidden", "é.txt", "a\nb"])
def test_an_added_file_is_refused_by_its_name(tmp_path: Path, name: str) -> None:
    write(tmp_path / "thing")
    (tmp_path / "thing" / name).write_bytes(b"")
    with pytest.raises(SealError, match=name.encode("unicode_escape").decode().replace("\\", ".")):
        verify(tmp_path / "thing")


def test_an_added_empty_directory_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "thing")
    (tmp_path / "thing" / "more").mkdir()
    with pytest.raises(SealError, match="more: is an empty directory"):
        verify(tmp_path / "thing")


def test_a_directory_where_a_file_was_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "thing")
    (tmp_path / "thing" / "labels.json").unlink()
    (tmp_path / "thing" / "labels.json").mkdir()
    (tmp_path / "thing" / "labels.json" / "x").touch()
    with pytest.raises(SealError, match=r"labels\.json"):
        verify(tmp_path / "thing")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not JSON",
        b"[]",
        b"{}",
        b"null",
        b"\xff",
        b"[" * 100_000,
        b'{"config":{},"files":[],"format":2,"inputs":{},"kind":"thing"}',
        b'{"config":{},"files":[],"format":1,"inputs":{},"kind":""}',
        b'{"config":[],"files":[],"format":1,"inputs":{},"kind":"thing"}',
        b'{"config":{"a":NaN},"files":[],"format":1,"inputs":{},"kind":"thing"}',
        b'{"config":{},"files":{"a":1},"format":1,"inputs":{},"kind":"thing"}',
        b'{"config": {},"files":[],"format":1,"inputs":{},"kind":"thing"}',
    ],
)
def test_a_manifest_that_is_not_one_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(SealError, match=r"manifest\.json"):
        verify(tmp_path)


@pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "a//b", "./a", "manifest.json", ""])
def test_a_manifest_that_points_elsewhere_is_refused(tmp_path: Path, path: str) -> None:
    write(tmp_path / "thing", {"a": b"x"})
    file = tmp_path / "thing" / "manifest.json"
    manifest = json.loads(file.read_bytes())
    manifest["files"][0]["path"] = path
    file.write_text(json.dumps(manifest, sort_keys=True, separators=(",", ":")))
    with pytest.raises(SealError, match=r"manifest\.json"):
        verify(tmp_path / "thing")


def test_what_is_not_sealed_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "directory").mkdir()
    for name, reason in [
        ("missing", "does not exist"),
        ("file", "is not a directory"),
        ("directory", "is not sealed"),
    ]:
        with pytest.raises(SealError, match=f"{name}: {reason}"):
            verify(tmp_path / name)


def test_another_kind_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "thing")
    assert verify(tmp_path / "thing", kind="thing").kind == "thing"
    with pytest.raises(SealError, match="is a sealed thing, and a checkpoint is needed"):
        verify(tmp_path / "thing", kind="checkpoint")


def test_a_file_altered_after_verification_is_not_read(tmp_path: Path) -> None:
    sealed = write(tmp_path / "thing")
    flip(tmp_path / "thing" / "model.bin", 17)
    with pytest.raises(SealError, match=r"model\.bin: is altered"):
        sealed.read("model.bin")
    with pytest.raises(SealError, match=r"other: is not part"):
        sealed.read("other")


def _link(directory: Path) -> None:
    (directory / "link").symlink_to("/etc/passwd")


def _pipe(directory: Path) -> None:
    os.mkfifo(directory / "pipe")


def _odd_name(directory: Path) -> None:
    Path(os.fsdecode(os.fsencode(directory) + b"/odd\xff")).touch()


def _hidden(directory: Path) -> None:
    (directory / ".hidden").touch()


def _empty(directory: Path) -> None:
    (directory / "empty").mkdir()


@pytest.mark.parametrize("make", [_link, _pipe, _odd_name, _hidden, _empty])
def test_what_cannot_be_sealed_is_refused_and_leaves_the_old_one(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    before = write(tmp_path / "thing").seal
    with (
        pytest.raises(SealError, match=make.__name__.removeprefix("_").split("_")[0]),
        sealing(tmp_path / "thing", kind="thing", inputs={}, config={}) as directory,
    ):
        make(directory)
    assert verify(tmp_path / "thing").seal == before
    assert os.listdir(tmp_path) == ["thing"]


def test_an_error_leaves_nothing_behind(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError, match="mine"),
        sealing(tmp_path / "thing", kind="thing", inputs={}, config={}) as directory,
    ):
        (directory / "file").touch()
        raise RuntimeError("mine")
    assert os.listdir(tmp_path) == []


def test_a_sealed_directory_is_replaced_by_one_of_its_kind_only(tmp_path: Path) -> None:
    before = write(tmp_path / "thing")
    after = write(tmp_path / "thing", {"new": b"new"})
    assert after.seal != before.seal
    with pytest.raises(SealError, match="holds a sealed thing, not a other"):
        write(tmp_path / "thing", kind="other")
    assert verify(tmp_path / "thing").seal == after.seal
    assert os.listdir(tmp_path) == ["thing"]


def test_what_is_not_ours_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("mine")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to("precious")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SealError, match="precious: is not sealed"):
        write(tmp_path / "precious")
    for name in ("file", "link"):
        with pytest.raises(StorageError, match=f"{name}: is not a directory"):
            write(tmp_path / name)
    with pytest.raises(StorageError, match="cannot be written"):
        write(tmp_path / "file" / "below")
    assert (tmp_path / "precious" / "file").read_text() == (tmp_path / "file").read_text() == "mine"
    assert write(tmp_path / "empty").kind == "thing"


OTHER = "sha256:" + "5" * 64


def test_another_seal_than_the_one_wanted_is_refused_naming_both(tmp_path: Path) -> None:
    seal = write(tmp_path / "thing").seal
    assert verify(tmp_path / "thing", seal=seal).seal == seal
    with pytest.raises(SealError, match=f"thing: its seal is {seal}, and {OTHER} is wanted"):
        verify(tmp_path / "thing", seal=OTHER)
    file = tmp_path / "thing" / "manifest.json"
    file.write_bytes(file.read_bytes().replace(b'"name":"a"', b'"name":"c"'))
    assert verify(tmp_path / "thing").seal != seal
    with pytest.raises(SealError, match=rf"and {seal} is wanted: .* manifest\.json was altered"):
        verify(tmp_path / "thing", seal=seal)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5" * 64,
        "sha256:" + "5" * 63,
        "sha256:" + "5" * 65,
        "sha256:" + "F" * 64,
        "sha256:" + "٣" * 64,
        "sha512:" + "5" * 64,
        f" {OTHER}",
        f"{OTHER}\n",
        "\ud800",
        "a" * 100_000,
    ],
)
def test_what_is_no_seal_is_the_users_mistake(tmp_path: Path, text: str) -> None:
    write(tmp_path / "thing")
    with pytest.raises(UserError, match=r"--seal .*: is not a seal; write sha256:") as caught:
        verify(tmp_path / "thing", seal=text)
    assert str(caught.value).isprintable() and len(str(caught.value)) < 2000


def test_the_seal_remembered_beside_a_directory_is_compared(tmp_path: Path) -> None:
    sealed = write(tmp_path / "thing")
    remember(sealed)
    assert (tmp_path / "thing.seal").read_text() == f"{sealed.seal}\n"
    assert verify(tmp_path / "thing").seal == sealed.seal
    file = tmp_path / "thing" / "manifest.json"
    file.write_bytes(file.read_bytes().replace(b'"name":"a"', b'"name":"c"'))
    with pytest.raises(SealError, match=rf"and {sealed.seal} was remembered in .*thing\.seal"):
        verify(tmp_path / "thing")
    now = hashlib.sha256(file.read_bytes()).hexdigest()
    assert verify(tmp_path / "thing", seal=f"sha256:{now}").kind == "thing"


def test_a_damaged_memory_of_a_seal_is_refused_by_name(tmp_path: Path) -> None:
    write(tmp_path / "thing")
    for content in (b"", b"\xff\n", b"sha256:5", b"x" * 1_000_000):
        (tmp_path / "thing.seal").write_bytes(content)
        with pytest.raises(SealError, match=r"thing\.seal: is altered: it holds no seal"):
            verify(tmp_path / "thing")


def test_a_directory_that_is_sealed_anew_is_not_held_to_its_old_seal(tmp_path: Path) -> None:
    remember(write(tmp_path / "thing"))
    write(tmp_path / "thing", config="b")
    assert os.listdir(tmp_path) == ["thing"]


def _socket(path: Path) -> None:
    with closing(socket.socket(socket.AF_UNIX)) as one:
        # By a relative name, as those of sockets must be short.
        one.bind(os.path.relpath(path))


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, _socket])
@pytest.mark.parametrize("name", ["manifest.json", "labels.json"])
def test_what_is_no_file_keeps_no_reader_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], None], name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    sealed = write(tmp_path / "thing")
    (tmp_path / "thing" / name).unlink()
    make(tmp_path / "thing" / name)
    reason = "is an empty directory" if (make, name[0]) == (os.mkdir, "l") else "not a regular file"
    with pytest.raises(SealError, match=f"{name}: .*{reason}"):
        verify(tmp_path / "thing")
    with pytest.raises(SealError, match=name if name[0] == "l" else "is not part of"):
        sealed.read(name)


def test_a_pipe_that_takes_a_files_place_after_verification_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "file"
    os.mkfifo(file)
    for read in (sha256_file, open_regular):
        with pytest.raises(OSError, match="not a regular file"):
            read(file)


def test_paths_that_the_system_refuses_are_refused_in_one_line(tmp_path: Path) -> None:
    for path in (tmp_path / ("a" * 300), tmp_path / ("a/" * 5000), Path("a\0b"), Path("x\ny")):
        with pytest.raises(SealError) as caught:
            verify(path)
        assert str(caught.value).isprintable() and len(str(caught.value)) < 2000


def test_a_directory_as_deep_as_a_path_may_be_long_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "thing")
    before, place = os.getcwd(), tmp_path / "thing"
    try:
        os.chdir(place)
        for _ in range(3000):
            os.mkdir("d")
            os.chdir("d")
    finally:
        os.chdir(before)
    with pytest.raises(SealError, match="cannot be read: File name too long"):
        verify(place)
    subprocess.run(["rm", "-rf", str(place / "d")], check=True)
