"""tools/bazel: which engine it starts, and what it says where there is none to start."""

import os
import pathlib
import shutil
import subprocess

import pytest

LAUNCHER = pathlib.Path(__file__).parents[2] / "tools/bazel"
SYSTEM = "/usr/bin:/bin"
DEBIAN = pytest.mark.skipif(
    not os.path.exists("/usr/bin/bazel-4"), reason="Debian's Bazel is not here"
)


@pytest.fixture
def launcher(tmp_path: pathlib.Path) -> pathlib.Path:
    """The launcher in a checkout of its own."""
    return _checkout(tmp_path / "checkout")


def _checkout(folder: pathlib.Path) -> pathlib.Path:
    (folder / "tools").mkdir(parents=True)
    (folder / "third_party/airgap").mkdir(parents=True)
    (folder / "third_party/airgap/bazelrc").touch()
    (folder / "third_party/airgap/unsandboxed.bazelrc").touch()
    (folder / ".bazelversion").write_text("8.5.1\n")
    return pathlib.Path(shutil.copy(LAUNCHER, folder / "tools/bazel"))


def _program(folder: pathlib.Path, name: str, version: str) -> pathlib.Path:
    """An engine that tells its version, and else what it was asked to do."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && echo "{version}" && exit\necho "{name}: $*"\n'
    )
    path.chmod(0o755)
    return path


def _start(
    launcher: pathlib.Path, path: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [launcher, "build", "//..."],
        env={"PATH": path, "HOME": str(launcher.parents[2] / "home"), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("version", ["bazel 7.4.0", "bazel 8.5.1", "bazel 10.0.0-pre.1"])
def test_a_newer_bazel_is_taken(
    launcher: pathlib.Path, tmp_path: pathlib.Path, version: str
) -> None:
    _program(tmp_path / "bin", "bazel", version)
    done = _start(launcher, f"{tmp_path}/bin:{SYSTEM}")
    assert done.stdout == "bazel: build //...\n"


@pytest.mark.parametrize("version", ["bazel 6.5.0", "no_version", ""])
def test_an_older_bazel_is_not(
    launcher: pathlib.Path, tmp_path: pathlib.Path, version: str
) -> None:
    _program(tmp_path / "bin", "bazel", version)
    done = _start(launcher, f"{tmp_path}/bin:{SYSTEM}", RETORT_ENGINE="upstream")
    assert done.returncode == 2
    assert "no Bazel 7 or newer" in done.stderr


BAZELISKS = {
    "bazelisk": '#!/bin/sh\necho "bazelisk: $*"\n',
    "bazel": '#!/usr/bin/env sh\n# starts @bazel/bazelisk\necho "bazelisk: $*"\n',
}


def _bazelisk(folder: pathlib.Path, name: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(BAZELISKS[name])
    (folder / name).chmod(0o755)


def _fetched(home: pathlib.Path, layout: str) -> None:
    path = home / "downloads" / layout
    path.parent.mkdir(parents=True)
    path.touch()


LAYOUTS = [
    "metadata/bazelbuild/bazel-8.5.1-linux-x86_64",
    "bazelbuild/bazel-8.5.1-linux-arm64/bin/bazel",
]


@pytest.mark.parametrize("name", sorted(BAZELISKS))
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_bazelisk_that_has_its_bazel_is_preferred(
    launcher: pathlib.Path, tmp_path: pathlib.Path, name: str, layout: str
) -> None:
    _bazelisk(tmp_path / "bin", name)
    _fetched(tmp_path / "home/.cache/bazelisk", layout)
    done = _start(launcher, f"{tmp_path}/bin:{SYSTEM}")
    assert (done.stdout, done.stderr) == ("bazelisk: build //...\n", "")


def test_bazelisk_keeps_its_bazel_where_it_is_told(
    launcher: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    _bazelisk(tmp_path / "bin", "bazelisk")
    _fetched(tmp_path / "elsewhere", LAYOUTS[0])
    done = _start(launcher, f"{tmp_path}/bin:{SYSTEM}", BAZELISK_HOME=f"{tmp_path}/elsewhere")
    assert (done.stdout, done.stderr) == ("bazelisk: build //...\n", "")


def test_a_bazelisk_is_told_to_fetch_where_nothing_else_will_do(
    launcher: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    _bazelisk(tmp_path / "bin", "bazelisk")
    done = _start(launcher, f"{tmp_path}/bin:{SYSTEM}", RETORT_ENGINE="upstream")
    assert done.stdout == "bazelisk: build //...\n"
    (line,) = done.stderr.splitlines()
    assert "RETORT_ENGINE=airgap" in line


@DEBIAN
@pytest.mark.parametrize("name", sorted(BAZELISKS))
def test_a_bazelisk_that_would_have_to_fetch_is_not_started_where_debians_bazel_is(
    launcher: pathlib.Path, tmp_path: pathlib.Path, name: str
) -> None:
    _bazelisk(tmp_path / "bin", name)
    done = subprocess.run(
        [launcher, "--version"],
        env={"PATH": f"{tmp_path}/bin:{SYSTEM}", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "no_version" in done.stdout
    (line,) = (one for one in done.stderr.splitlines() if "no sandbox" not in one)
    assert f"{tmp_path}/bin/{name} (Bazelisk)" in line
    assert "RETORT_ENGINE=airgap" in line


@DEBIAN
def test_a_bazel_that_hangs_is_passed_over_and_named(
    launcher: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    _program(tmp_path / "bin", "bazel", "").write_text("#!/bin/sh\nexec tail -f /dev/null\n")
    done = subprocess.run(
        [launcher, "--version"],
        env={"PATH": f"{tmp_path}/bin:{SYSTEM}", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "no_version" in done.stdout
    assert f"{tmp_path}/bin/bazel does not tell its version: taking Debian's" in done.stderr


def _refused(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    return line


ODD = ["with space", "\u00e9", "\u4e2d\u6587", "a\nb"]


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("engine", ["airgap", "upstream"])
def test_a_path_that_bazel_cannot_do_is_refused_before_it_starts(
    tmp_path: pathlib.Path, name: str, engine: str
) -> None:
    launcher = _checkout(tmp_path / name / "checkout")
    _program(tmp_path / "bin", "bazel", "bazel 8.5.1")
    line = _refused(_start(launcher, f"{tmp_path}/bin:{SYSTEM}", RETORT_ENGINE=engine))
    assert "this checkout" in line


@pytest.mark.parametrize("name", ["it's", "a:b", "a&b", "a;b", "a$b", "(a)", "a#b", "~a", "a*?[b]"])
def test_other_paths_are_not_refused(tmp_path: pathlib.Path, name: str) -> None:
    launcher = _checkout(tmp_path / name / "checkout")
    _program(tmp_path / "bin", "bazel", "bazel 8.5.1")
    done = _start(launcher, f"{tmp_path}/bin:{SYSTEM}", HOME=str(tmp_path / "home"))
    assert (done.stdout, done.stderr) == ("bazel: build //...\n", "")


def test_what_counts_is_the_place_behind_a_link(tmp_path: pathlib.Path) -> None:
    _program(tmp_path / "bin", "bazel", "bazel 8.5.1")
    path = f"{tmp_path}/bin:{SYSTEM}"
    _checkout(tmp_path / "good/checkout")
    (tmp_path / "with space").symlink_to(tmp_path / "good")
    home = str(tmp_path / "home")
    done = _start(tmp_path / "with space/checkout/tools/bazel", path, HOME=home)
    assert done.returncode == 0, done.stderr
    _checkout(tmp_path / "\u00e9/checkout")
    (tmp_path / "plain").symlink_to(tmp_path / "\u00e9")
    _refused(_start(tmp_path / "plain/checkout/tools/bazel", path, HOME=home))


@pytest.mark.parametrize("name", ODD)
def test_a_home_that_bazel_cannot_do_is_refused(
    launcher: pathlib.Path, tmp_path: pathlib.Path, name: str
) -> None:
    _program(tmp_path / "bin", "bazel", "bazel 8.5.1")
    path = f"{tmp_path}/bin:{SYSTEM}"
    line = _refused(_start(launcher, path, HOME=str(tmp_path / name)))
    assert "your home" in line
    assert "--output_user_root" in line


@pytest.mark.parametrize("home", ["/proc/nowhere", "/dev/null"])
def test_a_home_that_cannot_be_written_is_refused(
    launcher: pathlib.Path, tmp_path: pathlib.Path, home: str
) -> None:
    _program(tmp_path / "bin", "bazel", "bazel 8.5.1")
    assert f"{home}/.cache/bazel" in _refused(
        _start(launcher, f"{tmp_path}/bin:{SYSTEM}", HOME=home)
    )


def test_a_home_does_not_matter_where_another_place_is_named(
    launcher: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    _program(tmp_path / "bin", "bazel", "bazel 8.5.1")
    done = subprocess.run(
        [launcher, f"--output_user_root={tmp_path}/out", "build"],
        env={"PATH": f"{tmp_path}/bin:{SYSTEM}", "HOME": "/dev/null"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == f"bazel: --output_user_root={tmp_path}/out build\n"


def test_a_system_without_utf_8_is_told(launcher: pathlib.Path, tmp_path: pathlib.Path) -> None:
    _program(tmp_path / "bin", "bazel", "bazel 8.5.1")
    _program(tmp_path / "bin", "locale", "").write_text("#!/bin/sh\necho ANSI_X3.4-1968\n")
    done = _start(launcher, f"{tmp_path}/bin:{SYSTEM}")
    assert done.stdout == "bazel: build //...\n"
    (line,) = done.stderr.splitlines()
    assert "C.UTF-8" in line


def test_the_engine_that_bazelisk_brought_is_started(
    launcher: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    real = _program(tmp_path / "cache", "bazel-real", "bazel 8.5.1")
    done = _start(launcher, SYSTEM, BAZEL_REAL=str(real))
    assert done.stdout == "bazel-real: build //...\n"


def test_the_launcher_never_starts_itself(launcher: pathlib.Path, tmp_path: pathlib.Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/bazel").symlink_to(launcher)
    done = _start(launcher, f"{tmp_path}/bin:{SYSTEM}", RETORT_ENGINE="upstream")
    assert done.returncode == 2


@pytest.mark.parametrize("start", ["exec", ""])
def test_a_script_that_starts_the_launcher_again_is_left(
    launcher: pathlib.Path, tmp_path: pathlib.Path, start: str
) -> None:
    script = _program(tmp_path / "bin", "bazel", "bazel 8.5.1")
    script.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && echo "bazel 8.5.1" && exit\n{start} "{launcher}" "$@"\n'
    )
    line = _refused(_start(launcher, f"{tmp_path}/bin:{SYSTEM}", RETORT_ENGINE="upstream"))
    assert "no Bazel 7 or newer" in line


def test_what_a_wrapper_would_have_started_is_started(
    launcher: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """As Bazel's own package for Debian does it."""
    real = _program(tmp_path / "lib", "bazel-8.5.1", "bazel 8.5.1")
    _program(tmp_path / "bin", "bazel", "").write_text(
        f'#!/bin/sh\n# unlike Bazelisk\nBAZEL_REAL="{real}" exec "{launcher}" "$@"\n'
    )
    done = _start(launcher, f"{tmp_path}/bin:{SYSTEM}", BAZEL_REAL=str(real))
    assert (done.stdout, done.stderr) == ("bazel-8.5.1: build //...\n", "")


def test_an_engine_that_is_none_is_refused(launcher: pathlib.Path) -> None:
    done = _start(launcher, SYSTEM, RETORT_ENGINE="newest")
    assert done.returncode == 2
    assert "RETORT_ENGINE is 'newest'; it may be airgap or upstream" in done.stderr


@DEBIAN
def test_debians_bazel_is_taken_where_it_is_asked_for(
    launcher: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    _program(tmp_path / "bin", "bazel", "bazel 8.5.1")
    done = subprocess.run(
        [launcher, "--version"],
        env={"PATH": f"{tmp_path}/bin:{SYSTEM}", "RETORT_ENGINE": "airgap", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "no_version" in done.stdout
