"""The same as by day, for half an hour on two processors."""

from pathlib import Path

from tests.serve.soak import soak


def test_memory_does_not_grow(tmp_path: Path) -> None:
    soak(tmp_path, rounds=150)
