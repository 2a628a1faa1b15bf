"""The formatters over files that are named, and the hook that hands them what is staged."""

import os
import pathlib
import subprocess
import sys

import pytest

from tools.quality import check

HOOK = pathlib.Path(__file__).resolve().parents[2] / "tools/quality/pre-commit"
UGLY, NEAT = "x = [ 1,2 ]\n", "x = [1, 2]\n"


def _git(where: pathlib.Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    command = ["git", *who, *arguments]
    environment = {name: text for name, text in os.environ.items() if not name.startswith("GIT_")}
    return subprocess.run(
        command, cwd=where, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture
def repository(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """With one file that is formatted otherwise, staged, and one that is neither named nor staged."""
    root = tmp_path / "repository"
    root.mkdir()
    assert _git(root, "init", "--quiet").returncode == 0
    (root / "staged é.py").write_text(UGLY)
    (root / "words.txt").write_text("a  b \n")
    assert _git(root, "add", ".").returncode == 0
    (root / "other.py").write_text(UGLY)
    monkeypatch.setenv("BUILD_WORKSPACE_DIRECTORY", str(root))
    return root


def test_files_that_are_named_are_read_and_no_other(
    repository: pathlib.Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert check.main(["staged é.py"]) == 1
    assert "found something: black" in capfd.readouterr().err
    assert check.main(["--fix", "staged é.py"]) == 0
    assert (repository / "staged é.py").read_text() == NEAT
    assert (repository / "other.py").read_text() == UGLY
    assert check.main(["staged é.py", "words.txt"]) == 0


def test_a_file_that_no_tool_reads_is_no_error(
    repository: pathlib.Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert check.main(["words.txt"]) == 0
    assert capfd.readouterr().err == ""


def test_without_names_a_tool_that_finds_no_file_is_an_error(repository: pathlib.Path) -> None:
    (repository / "other.py").unlink()
    (repository / "staged é.py").unlink()
    with pytest.raises(SystemExit, match="black: no file to read"):
        check.main([])


@pytest.fixture
def hooked(repository: pathlib.Path) -> pathlib.Path:
    """The repository with the hook, whose `bazel run //tools/quality:check` is this very interpreter."""
    hooks = repository / "hooks"
    hooks.mkdir()
    (hooks / "pre-commit").write_bytes(HOOK.read_bytes())
    (hooks / "pre-commit").chmod(0o755)
    launcher = repository / "tools/bazel"
    launcher.parent.mkdir()
    program = launcher.with_name("check.py")
    program.write_text(
        f"import sys\nsys.path[:0] = {[path for path in sys.path if path]!r}\n"
        "from tools.quality import check\n"
        "assert '//tools/quality:check' in sys.argv\n"
        "sys.exit(check.main(sys.argv[sys.argv.index('--') + 1:]))\n"
    )
    launcher.write_text(f'#!/bin/sh\nexec {sys.executable} -B {program} "$@"\n')
    launcher.chmod(0o755)
    assert _git(repository, "config", "core.hooksPath", "hooks").returncode == 0
    return repository


def test_the_hook_formats_what_is_staged_and_has_it_added_again(hooked: pathlib.Path) -> None:
    first = _git(hooked, "commit", "--message=a")
    assert first.returncode == 1
    assert first.stderr.splitlines()[-1] == "formatted: look at it, git add it, and commit again"
    assert (hooked / "staged é.py").read_text() == NEAT
    assert (hooked / "other.py").read_text() == UGLY
    assert _git(hooked, "add", "staged é.py").returncode == 0
    second = _git(hooked, "commit", "--message=a")
    assert second.returncode == 0, second.stderr
    assert _git(hooked, "show", "HEAD:staged é.py").stdout == NEAT


def test_the_hook_stops_a_commit_that_a_linter_refuses(hooked: pathlib.Path) -> None:
    (hooked / "staged é.py").write_text("import os\n\nprint(nothing)\n")
    done = _git(hooked, "commit", "--all", "--message=a")
    assert done.returncode == 1
    assert "found something: ruff" in done.stderr


def test_the_hook_lets_a_commit_pass_that_only_removes(hooked: pathlib.Path) -> None:
    assert _git(hooked, "commit", "--no-verify", "--message=a").returncode == 0
    assert _git(hooked, "rm", "--quiet", "staged é.py").returncode == 0
    done = _git(hooked, "commit", "--message=b")
    assert (done.returncode, done.stderr) == (0, "")
