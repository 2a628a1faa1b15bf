"""Memory that ranks share: mapped only if it is the very file that a rank told of."""

import os
from pathlib import Path

import pytest
import torch

from retort.train.engines.contract.shared_vectors import _map, _vectors

SIZE = 4096 + 4 * 30


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"m" * 16 + bytes(SIZE - 16))
    return path


def test_two_that_map_it_see_what_either_writes(file: Path) -> None:
    one, other = (_map(str(file), b"m" * 16, SIZE) for _ in range(2))
    assert one is not None and other is not None
    vectors, seen = _vectors(one, 10), _vectors(other, 10)
    assert [len(vector) for vector in vectors] == [10, 10, 10]
    assert all(vector.dtype == torch.float32 and not vector.any() for vector in seen)
    vectors[1].fill_(2.0)
    assert [float(vector.sum()) for vector in seen] == [0.0, 20.0, 0.0]


def test_another_file_is_not_mapped(file: Path, tmp_path: Path) -> None:
    assert _map(str(file), b"n" * 16, SIZE) is None
    assert _map(str(file), b"m" * 16, SIZE + 4) is None
    assert _map(str(tmp_path), b"m" * 16, SIZE) is None
    assert _map(str(tmp_path / "none"), b"m" * 16, SIZE) is None
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert _map(str(pipe), b"m" * 16, SIZE) is None  # and nobody waits for its other end
