"""tools/bazel: which engine it starts, and what it says where there is none to start."""

import os
import pathlib
import shutil
import subprocess

import pytest

LAUNCHER = pathlib.Path(__file__).parents[2] / "tools/bazel"
SYSTEM = "/usr/bin:/bin"


@pytest.fixture
def launcher(tmp_path: pathlib.Path) -> pathlib.Path:
    """The launcher in a checkout of its own."""
    (tmp_path / "checkout/tools").mkdir(parents=True)
    (tmp_path / "checkout/third_party/airgap").mkdir(parents=True)
    (tmp_path / "checkout/third_party/airgap/bazelrc").touch()
    (tmp_path / "checkout/third_party/airgap/unsandboxed.bazelrc").touch()
    return pathlib.Path(shutil.copy(LAUNCHER, tmp_path / "checkout/tools/bazel"))


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
        env={"PATH": path, **environment},
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


def test_bazelisk_is_preferred(launcher: pathlib.Path, tmp_path: pathlib.Path) -> None:
    _program(tmp_path / "bin", "bazelisk", "")
    _program(tmp_path / "bin", "bazel", "bazel 8.5.1")
    assert _start(launcher, f"{tmp_path}/bin:{SYSTEM}").stdout == "bazelisk: build //...\n"


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


def test_an_engine_that_is_none_is_refused(launcher: pathlib.Path) -> None:
    done = _start(launcher, SYSTEM, RETORT_ENGINE="newest")
    assert done.returncode == 2
    assert "RETORT_ENGINE is 'newest'; it may be airgap or upstream" in done.stderr


@pytest.mark.skipif(not os.path.exists("/usr/bin/bazel-4"), reason="Debian's Bazel is not here")
def test_debians_bazel_is_taken_where_it_is_asked_for(
    launcher: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    _program(tmp_path / "bin", "bazel", "bazel 8.5.1")
    done = subprocess.run(
        [launcher, "--version"],
        env={"PATH": f"{tmp_path}/bin:{SYSTEM}", "RETORT_ENGINE": "airgap"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "no_version" in done.stdout
