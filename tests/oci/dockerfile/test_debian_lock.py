"""The lock of Debian packages, and where they are fetched from: a real HTTP server stands for a mirror."""

import functools
import hashlib
import http.server
import pathlib
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from third_party.debian import fetch, lock
from third_party.debian.lock import Deb, Lock

_FOLDER = pathlib.Path(lock.__file__).parent
_CONTENT = b"!<arch>\npackage"
_DEB = Deb(
    name="one",
    version="1:2+x",
    architecture="amd64",
    archive="debian",
    path="pool/main/o/one/one_2+x_amd64.deb",
    size=len(_CONTENT),
    sha256=hashlib.sha256(_CONTENT).hexdigest(),
)
_LOCK = Lock("bookworm", "amd64", "20261122T000000Z", (_DEB,))


@pytest.fixture
def mirror(tmp_path: pathlib.Path) -> Iterator[tuple[pathlib.Path, str]]:
    """A folder, and the address that serves it."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def _put(folder: pathlib.Path, path: str, content: bytes = _CONTENT) -> None:
    (folder / path).parent.mkdir(parents=True)
    (folder / path).write_bytes(content)


def _fetch(tmp_path: pathlib.Path, **places: str) -> subprocess.CompletedProcess[str]:
    """Runs the fetch as the repository rule does, where there is no apt."""
    (tmp_path / "lock").write_text(_LOCK.to_text())
    (tmp_path / "out").mkdir(exist_ok=True)
    return subprocess.run(
        [sys.executable, "-c", "import sys; sys.path[:0] = sys.argv[1:2]; del sys.argv[1]\n"
         "import pathlib; from third_party.debian import fetch\n"
         "fetch._APT_HELPER = pathlib.Path('/nowhere'); fetch.main()",
         str(_FOLDER.parents[1]), f"--lock={tmp_path / 'lock'}", f"--out={tmp_path / 'out'}"],
        env={"RETORT_DEB_STORE": str(tmp_path / "store"), **places},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip


def test_the_lock_has_every_package_that_is_wanted() -> None:
    locked = lock.read(_FOLDER / "base.lock")
    wanted = lock.read_wanted(_FOLDER / "base.in")
    assert [deb.name for deb in locked.debs] == sorted(wanted.names)
    assert not {deb.name for deb in locked.debs} & set(wanted.left_out)
    assert all(len(deb.sha256) == 64 and deb.size for deb in locked.debs)


def test_a_lock_is_read_as_it_was_written(tmp_path: pathlib.Path) -> None:
    (tmp_path / "lock").write_text(_LOCK.to_text())
    assert lock.read(tmp_path / "lock") == _LOCK
    (tmp_path / "lock").write_text('{"release": "bookworm"}')
    with pytest.raises(ValueError, match="is not a lock of Debian packages"):
        lock.read(tmp_path / "lock")


def test_a_dependency_that_is_neither_taken_nor_left_out_is_named(tmp_path: pathlib.Path) -> None:
    (tmp_path / "base.in").write_text("# all\none  # first\ntwo\n- debconf: asks\n")
    wanted = lock.read_wanted(tmp_path / "base.in")
    assert wanted.names == ("one", "two")
    depends = {"one": ["two (>= 1), debconf (>= 0.5) | debconf-2.0", ""], "two": ["x | y:any", ""]}
    assert lock.unmet(wanted, depends) == ["two depends on x or y"]
    (tmp_path / "base.in").write_text("Not a package\n")
    with pytest.raises(ValueError, match="not a package"):
        lock.read_wanted(tmp_path / "base.in")


def test_a_package_comes_from_the_mirror_and_then_from_the_store(
    tmp_path: pathlib.Path, mirror: tuple[pathlib.Path, str]
) -> None:
    folder, address = mirror
    _put(folder, f"debian/{_DEB.path}")
    assert _fetch(tmp_path, RETORT_DEBIAN_MIRROR=address).returncode == 0
    assert (tmp_path / "out/one.deb").read_bytes() == _CONTENT
    (tmp_path / "out/one.deb").unlink()
    assert _fetch(tmp_path).returncode == 0
    assert (tmp_path / "out/one.deb").read_bytes() == _CONTENT


def test_what_mirrors_have_dropped_comes_from_the_snapshots(
    tmp_path: pathlib.Path, mirror: tuple[pathlib.Path, str]
) -> None:
    folder, address = mirror
    _put(folder, f"archive/debian/{_LOCK.date}/{_DEB.path}")
    done = _fetch(tmp_path, RETORT_DEBIAN_MIRROR=address, RETORT_DEBIAN_SNAPSHOTS=address)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out/one.deb").read_bytes() == _CONTENT


@pytest.mark.parametrize("other", [b"other", b""])
def test_a_package_with_another_digest_is_refused_and_not_kept(
    tmp_path: pathlib.Path, mirror: tuple[pathlib.Path, str], other: bytes
) -> None:
    folder, address = mirror
    _put(folder, f"debian/{_DEB.path}", other)
    done = _fetch(tmp_path, RETORT_DEBIAN_MIRROR=address)
    assert done.returncode == 1
    assert "has the digest" in done.stderr
    assert list((tmp_path / "out").iterdir()) == []
    assert list((tmp_path / "store").iterdir()) == []


def test_a_package_that_is_nowhere_says_how_to_lock_anew(
    tmp_path: pathlib.Path, mirror: tuple[pathlib.Path, str]
) -> None:
    done = _fetch(tmp_path, RETORT_DEBIAN_MIRROR=mirror[1])
    assert done.returncode == 1
    assert "one 1:2+x is in no place that was asked" in done.stderr
    assert "404" in done.stderr
    assert "bazel run //docker:update" in done.stderr
    assert "nothing was asked" in _fetch(tmp_path).stderr


def test_apt_is_asked_before_a_mirror_and_a_mirror_before_snapshots(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RETORT_DEBIAN_MIRROR", "http://mirror/")
    monkeypatch.setenv("RETORT_DEBIAN_SNAPSHOTS", "http://snapshots")
    apt = ["http://apt/debian/", "http://apt/debian-security/"]
    assert list(fetch.addresses(_LOCK, _DEB, apt)) == [
        ("http://apt/debian/pool/main/o/one/one_2%2Bx_amd64.deb", True),
        ("http://mirror/debian/pool/main/o/one/one_2%2Bx_amd64.deb", False),
        (
            "http://snapshots/archive/debian/20261122T000000Z/pool/main/o/one/one_2%2Bx_amd64.deb",
            False,
        ),
    ]
