"""Texts of random lengths for long: what the server's processes hold does not grow."""

from pathlib import Path

from tests.serve.soak import soak


def test_memory_does_not_grow(tmp_path: Path) -> None:
    soak(tmp_path, rounds=9)
