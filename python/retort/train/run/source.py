"""What a run was made with: the source's commit and the lock of its packages."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

import torch

from retort.core.digest import sha256_file

_LOCKS = Path("third_party/requirements")
_CUDA = torch.version.cuda is not None


@dataclass(frozen=True)
class SourceFacts:
    """
    Attributes:
        lock: digest of the lock file of these packages, `sha256:…`; None outside a checkout.
        commit: of the checkout; None if it is not at one, or has changes.
    """

    lock: str | None = None
    commit: str | None = None


def source_facts(checkout: Path, *, cuda: bool = _CUDA) -> SourceFacts:
    """Of the checkout that a command was typed in.

    Args:
        cuda: whether torch is the build for CUDA, whose packages have a lock of their own.
    """
    lock = checkout / _LOCKS / ("cuda.lock" if cuda else "cpu.lock")
    if not lock.is_file():
        return SourceFacts()
    return SourceFacts(f"sha256:{sha256_file(lock)}", _commit(checkout))


def _commit(checkout: Path) -> str | None:
    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(checkout), *arguments],
                capture_output=True,
                text=True,
                check=False,
            )
        except OSError:
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    changed = git("status", "--porcelain", "--untracked-files=no")
    return git("rev-parse", "HEAD") if changed == "" else None
