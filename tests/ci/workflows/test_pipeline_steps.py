"""What jobs run beside the gates: settings, room on disk, Bazel's results, the lock of modules, notes of a release."""

import hashlib
import json
import os
import pathlib
import subprocess
import sys

import pytest

from tools.ci import hermetic
from tools.ci.workflows import disk_cache, disk_space, module_lock, release, settings

SCRIPTS = pathlib.Path(__file__).resolve().parents[3] / "tools/ci"
NS = 1_000_000_000


def _settings(tmp_path: pathlib.Path, **given: str) -> tuple[int, list[str], str]:
    """Exit code, lines written for the job, and what was said."""
    file = tmp_path / "env"
    done = subprocess.run(
        [sys.executable, SCRIPTS / "workflows/settings.py"],
        env={"GITHUB_ENV": str(file), **given},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = file.read_text().splitlines() if file.exists() else []
    return done.returncode, lines, done.stdout + done.stderr


def test_a_setting_that_is_not_set_does_not_reach_pip(tmp_path: pathlib.Path) -> None:
    code, lines, _ = _settings(
        tmp_path, SETTING_PIP_INDEX_URL="", SETTING_PIP_EXTRA_INDEX_URL=" https://x.example/simple "
    )
    assert code == 0
    assert lines == ["PIP_EXTRA_INDEX_URL=https://x.example/simple"]


def test_a_setting_cannot_write_another(tmp_path: pathlib.Path) -> None:
    code, lines, said = _settings(tmp_path, SETTING_PIP_INDEX_URL="https://a\nLD_PRELOAD=x")
    assert (code, lines) == (2, [])
    assert said == "error: the setting PIP_INDEX_URL has a line break; write it in one line\n"


def test_settings_outside_a_job_are_refused(tmp_path: pathlib.Path) -> None:
    done = subprocess.run(
        [sys.executable, SCRIPTS / "workflows/settings.py"],
        env={},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 2


@pytest.mark.parametrize("given", ["", "https://mine.example"])
def test_snapshots_are_those_that_apts_sources_name(tmp_path: pathlib.Path, given: str) -> None:
    apt = tmp_path / "sources.list.d"
    apt.mkdir()
    found, notices = settings.settings({"SETTING_RETORT_DEBIAN_SNAPSHOTS": given}, tmp_path)
    assert found == ({"RETORT_DEBIAN_SNAPSHOTS": given} if given else {})
    assert bool(notices) == (not given)
    (apt / "debian.sources").write_text(
        "Types: deb\n# http://snapshots.example/archive/debian/20260713T000000Z\nURIs: http://x\n"
    )
    found, notices = settings.settings({"SETTING_RETORT_DEBIAN_SNAPSHOTS": given}, tmp_path)
    assert found == {"RETORT_DEBIAN_SNAPSHOTS": given or "http://snapshots.example"}
    assert not notices


def _cache(folder: pathlib.Path, **used: int) -> None:
    """Files of 100 bytes each, written in second 1 and last read in the second given."""
    (folder / "cas").mkdir(parents=True)
    for name, second in used.items():
        path = folder / "cas" / name
        path.write_bytes(bytes(100))
        os.utime(path, ns=(second * NS, 1 * NS))


def _names(folder: pathlib.Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("limit", "left"),
    [(400, {"a", "b", "c", "d"}), (399, {"b", "c", "d"}), (200, {"b", "d"}), (99, set())],
)
def test_what_was_not_read_for_longest_goes_first(
    tmp_path: pathlib.Path, limit: int, left: set[str]
) -> None:
    _cache(tmp_path, a=10, d=40, c=20, b=30)
    assert disk_cache.prune(tmp_path, limit) == (400, 100 * len(left))
    assert _names(tmp_path) == left


def test_what_was_read_is_known_after_the_cache_was_packed_and_unpacked(
    tmp_path: pathlib.Path,
) -> None:
    _cache(tmp_path / "first", old=1, read=1)
    subprocess.run(["tar", "-C", tmp_path, "-cf", tmp_path / "pack.tar", "first"], check=True)
    (tmp_path / "next").mkdir()
    subprocess.run(["tar", "-C", tmp_path / "next", "-xf", tmp_path / "pack.tar"], check=True)
    folder = tmp_path / "next/first"
    disk_cache.use(folder, tmp_path / "user.bazelrc")
    (folder / "cas/read").read_bytes()
    if (folder / "cas/read").stat().st_atime_ns == NS:
        pytest.skip("this file system does not note when a file is read")
    assert disk_cache.prune(folder, 100) == (200, 100)
    assert _names(folder) == {"read"}
    assert (folder / "cas/read").stat().st_mtime_ns > NS


def test_bazel_is_told_of_its_results_once(tmp_path: pathlib.Path) -> None:
    rc = tmp_path / "user.bazelrc"
    rc.write_text("build --jobs=2\n")
    for _ in range(2):
        disk_cache.use(tmp_path / "results", rc)
    assert rc.read_text() == f"build --jobs=2\nbuild --disk_cache={tmp_path / 'results'}\n"


def test_the_proof_of_hermetic_builds_takes_no_results_of_others(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "from").mkdir()
    (tmp_path / "from/WORKSPACE").touch()
    (tmp_path / "from/user.bazelrc").write_text("build --disk_cache=/somewhere\n")
    monkeypatch.setattr(hermetic, "CHECKOUT", tmp_path / "from")
    hermetic.copy_checkout(tmp_path / "to")
    assert _names(tmp_path / "to") == {"WORKSPACE"}


def test_room_is_made_only_where_it_is_needed(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "kept"
    (kept / "below").mkdir(parents=True)
    assert disk_space.make_room(tmp_path, 0, [kept])
    assert (kept / "below").is_dir()
    (kept / "link").symlink_to(tmp_path)
    assert not disk_space.make_room(tmp_path, 1e9, [tmp_path / "absent", kept])
    assert kept.is_dir()
    assert not list(kept.iterdir())
    assert "GB free without" in capsys.readouterr().out


def test_too_little_room_fails_and_what_was_used_is_said(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    since = tmp_path / "free"
    assert disk_space.main(["--need-gb", "1e9", "--since", str(since)]) == 1
    assert "error: 1e+09 GB are needed" in capsys.readouterr().err
    assert not since.exists()
    assert disk_space.main(["--since", str(since)]) == 0
    assert disk_space.main(["--since", str(since)]) == 0
    assert "::notice::" in capsys.readouterr().out


# Stands in for Bazel: a lock is right when it says `right`.
BAZEL = """#!/bin/sh
echo "$RETORT_ENGINE $*" >> asked
case $* in
  *=error*) grep -qx right MODULE.bazel.lock ;;
  *=update*) echo right > MODULE.bazel.lock ;;
esac
"""


@pytest.fixture
def checkout(tmp_path: pathlib.Path) -> pathlib.Path:
    (tmp_path / "checkout/tools").mkdir(parents=True)
    bazel = tmp_path / "checkout/tools/bazel"
    bazel.write_text(BAZEL)
    bazel.chmod(0o755)
    return tmp_path / "checkout"


@pytest.mark.parametrize("before", [None, "wrong\n"])
def test_a_lock_of_modules_that_does_not_hold_is_left_to_be_checked_in(
    checkout: pathlib.Path,
    tmp_path: pathlib.Path,
    before: str | None,
    capfd: pytest.CaptureFixture[str],
) -> None:
    if before is not None:
        (checkout / "MODULE.bazel.lock").write_text(before)
    assert module_lock.check(checkout, tmp_path / "out") == 1
    assert (tmp_path / "out/MODULE.bazel.lock").read_text() == "right\n"
    assert "check in the one that this job leaves" in capfd.readouterr().out


def test_a_lock_of_modules_that_holds_passes(
    checkout: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    (checkout / "MODULE.bazel.lock").write_text("right\n")
    assert module_lock.check(checkout, tmp_path / "out") == 0
    assert not (tmp_path / "out").exists()
    asked = (checkout / "asked").read_text()
    assert asked == "upstream build --nobuild --lockfile_mode=error //...\n"


def test_modules_that_cannot_be_resolved_leave_no_lock(
    checkout: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    (checkout / "tools/bazel").write_text("#!/bin/sh\nexit 37\n")
    assert module_lock.check(checkout, tmp_path / "out") == 1
    assert not (tmp_path / "out").exists()


def _notes(folder: pathlib.Path, *more: str) -> int:
    manifest = folder / "manifest.json"
    manifest.write_text(json.dumps({"kind": "checkpoint", "files": []}))
    return release.main(
        [
            *("--tag", "v1.2.0", "--source", "some-body/retort"),
            *("--seal", f"checkpoint={manifest}", "--out", str(folder / "notes.md"), *more),
        ]
    )


def test_notes_hold_digests_seals_and_how_to_verify_them(tmp_path: pathlib.Path) -> None:
    digest = f"sha256:{'a' * 64}"
    named = ("--repository", "ghcr.io/some-body/retort", "--image", f"training={digest}")
    assert _notes(tmp_path, *named) == 0
    text = (tmp_path / "notes.md").read_text()
    seal = hashlib.sha256((tmp_path / "manifest.json").read_bytes()).hexdigest()
    lock = (SCRIPTS.parents[1] / "third_party/requirements/cpu.lock").read_bytes()
    image = f"ghcr.io/some-body/retort/training@{digest}"
    assert f"`checkpoint` | `sha256:{seal}`" in text
    assert f"cpu.lock` | `sha256:{hashlib.sha256(lock).hexdigest()}`" in text
    assert f"gh attestation verify oci://{image} --repo some-body/retort" in text
    assert "--predicate-type https://cyclonedx.org/bom" in text


def test_a_release_without_pushed_images_has_notes(tmp_path: pathlib.Path) -> None:
    assert _notes(tmp_path, "--repository", "", "--image", "training=") == 0
    assert "## Images" not in (tmp_path / "notes.md").read_text()


@pytest.mark.parametrize(
    "more",
    [
        ("--repository", "host/name", "--image", "training="),
        ("--repository", "host/name", "--image", "training"),
        ("--seal", "tokens=/nowhere/manifest.json"),
    ],
)
def test_notes_that_lack_something_are_not_written(
    tmp_path: pathlib.Path, more: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert _notes(tmp_path, *more) == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert not (tmp_path / "notes.md").exists()
