"""Paths as people write them: usable, or refused in one line before anything is begun."""

import ctypes
import os
import pwd
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from retort.core.errors import StorageError, UserError
from retort.core.paths import check_place, resolved

_NAMES = st.one_of(
    st.binary(max_size=8).map(os.fsdecode),
    st.text(max_size=8),
    st.sampled_from(
        ["", ".", "..", "~", "~nobody", "~nosuchuser", "a" * 215, "é" * 128, "a" * 256]
    ),
    st.sampled_from(["x\ny", "\x1b[2J", "\u2028", "file", "directory", "loop", "nowhere"]),
)


def refusal(act: Callable[[], object]) -> str:
    with pytest.raises(UserError) as refused:
        act()
    message = str(refused.value)
    assert message.isprintable()
    assert len(message) < 2000
    return message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a path is empty"),
        ("~nosuchuser/x.yaml", "~nosuchuser/x.yaml: there is no such user"),
        ("a\0b", "holds a line break or another control character"),
        ("a\nb", r"a\nb: holds a line break or another control character"),
        ("a\x1b[31mb", "holds a line break or another control character"),
        (os.fsdecode(b"lat\xff"), "is not UTF-8"),
        ("a" * 256, "is too long for a name: 256 bytes, and 255 are possible"),
        ("é" * 128, "is too long for a name: 256 bytes"),
        ("abcdefgh/" * 500, "is too long for a path"),
    ],
)
def test_a_path_that_no_file_should_have_is_refused(text: str, message: str) -> None:
    assert message in refusal(lambda: resolved(text, Path("/here")))


def test_a_path_starts_where_it_was_written() -> None:
    home = pwd.getpwuid(os.getuid()).pw_name
    assert resolved("a/b", Path("/here")) == Path("/here/a/b")
    assert resolved("/a", Path("/here")) == Path("/a")
    assert resolved("é ü", Path("/here")) == Path("/here/é ü")
    assert resolved("./~nosuchuser", Path("/here")) == Path("/here/~nosuchuser")
    assert resolved(f"~{home}/x", Path("/here")).name == "x"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("place")
    (place / "file").touch()
    (place / "directory").mkdir()
    (place / "loop").symlink_to("loop")
    (place / "nowhere").symlink_to("gone")
    return place


def test_a_place_below_what_is_no_directory_is_refused(place: Path) -> None:
    assert "file/run: cannot be written: Not a directory" in refusal(
        lambda: check_place(place / "file" / "run")
    )
    assert "nowhere is not a directory" in refusal(lambda: check_place(place / "nowhere" / "run"))
    assert "symbolic links" in refusal(lambda: check_place(place / "loop" / "run"))


def test_a_name_leaves_room_for_those_beside_it(place: Path) -> None:
    check_place(place / ("a" * 215) / ".." / "run")
    check_place(place / ("a" * 215))
    assert "216 bytes, and 215 are possible" in refusal(lambda: check_place(place / ("a" * 216)))


def _give_up_capabilities() -> None:
    """Have permissions hold for this process as for anybody, also where it is root (capset(2))."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3, this process
    if ctypes.CDLL(None, use_errno=True).capset(header, (ctypes.c_uint32 * 6)()):
        raise OSError(ctypes.get_errno(), "capset")


def test_a_directory_that_may_not_be_searched_or_written_is_refused(tmp_path: Path) -> None:
    closed, sealed = tmp_path / "closed", tmp_path / "read-only"
    closed.mkdir(mode=0o600)
    sealed.mkdir(mode=0o555)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            _give_up_capabilities()
            with pytest.raises(StorageError, match="run/x: cannot be written: Permission denied"):
                check_place(closed / "run" / "x")
            with pytest.raises(
                StorageError, match=r"no permission to write in .*read-only; make it"
            ):
                check_place(sealed / "run")
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@settings(deadline=None, max_examples=1000, database=None)
@example(["a"] * 3000)
@example(["file", "x"])
@given(st.lists(_NAMES, max_size=6))
def test_any_path_is_one_line_or_can_be_made(place: Path, names: list[str]) -> None:
    text = "/".join(names)
    try:
        path = Path(os.path.abspath(resolved(text, place / "directory")))
        check_place(path)
    except UserError as error:
        assert error.exit_code == 2
        assert str(error).isprintable()
        assert len(str(error)) < 2000
        return
    str(path).encode()
    if path.is_relative_to(place / "directory"):
        path.mkdir(parents=True, exist_ok=True)
        assert path.is_dir()
        while path != place / "directory":
            path.rmdir()
            path = path.parent
