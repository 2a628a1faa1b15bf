"""What a run was made with is told if it is certain, and not otherwise."""

import subprocess
from pathlib import Path

import pytest

from retort.core.digest import sha256_bytes
from retort.train.run.source import SourceFacts, source_facts

LOCK, OTHER = b"torch==2\n", b"torch==3\n"


def git(checkout: Path, *arguments: str) -> str:
    settings = ["-c", "user.name=A", "-c", "user.email=a@example.invalid"]
    command = ["git", "-C", str(checkout), *settings, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    lock = tmp_path / "third_party" / "requirements" / "cpu.lock"
    lock.parent.mkdir(parents=True)
    lock.write_bytes(LOCK)
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", "--all")
    git(tmp_path, "commit", "--quiet", "--message=All")
    return tmp_path


def test_a_clean_checkout_has_a_lock_and_a_commit(checkout: Path) -> None:
    facts = source_facts(checkout)
    assert facts == SourceFacts(f"sha256:{sha256_bytes(LOCK)}", git(checkout, "rev-parse", "HEAD"))


def test_files_that_are_not_tracked_change_nothing(checkout: Path) -> None:
    (checkout / "notes.txt").write_text("mine")
    assert source_facts(checkout).commit == git(checkout, "rev-parse", "HEAD")


@pytest.mark.parametrize("staged", [False, True])
def test_a_change_has_no_commit_and_its_own_lock(checkout: Path, staged: bool) -> None:
    (checkout / "third_party" / "requirements" / "cpu.lock").write_bytes(OTHER)
    if staged:
        git(checkout, "add", "--all")
    assert source_facts(checkout) == SourceFacts(f"sha256:{sha256_bytes(OTHER)}", None)


def test_a_tree_without_history_has_a_lock_alone(checkout: Path) -> None:
    (checkout / ".git").rename(checkout / "elsewhere")
    assert source_facts(checkout) == SourceFacts(f"sha256:{sha256_bytes(LOCK)}", None)


def test_packages_for_cuda_have_a_lock_of_their_own(checkout: Path) -> None:
    (checkout / "third_party" / "requirements" / "cuda.lock").write_bytes(OTHER)
    assert source_facts(checkout, cuda=True).lock == f"sha256:{sha256_bytes(OTHER)}"
    assert source_facts(checkout, cuda=False).lock == f"sha256:{sha256_bytes(LOCK)}"


def test_outside_a_checkout_nothing_is_known(tmp_path: Path) -> None:
    assert source_facts(tmp_path) == SourceFacts(None, None)
