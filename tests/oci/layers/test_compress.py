"""Compressed layers: equal bytes each time, and what was compressed comes back."""

import gzip
import json
import pathlib
import time

import pytest
import zstandard

from tools.oci.image.layout import sha256_file
from tools.oci.layers import compress


def _compress(folder: pathlib.Path, algorithm: str, name: str, *more: str) -> pathlib.Path:
    blob = folder / name
    arguments = [f"--algorithm={algorithm}", f"--tar={folder / 'tar'}", f"--blob={blob}"]
    compress.main([*arguments, f"--descriptor={folder / name}.json", *more])
    return blob


@pytest.mark.parametrize("algorithm", ["zstd", "gzip"])
def test_a_layer_is_compressed_to_the_same_bytes_each_time(
    tmp_path: pathlib.Path, algorithm: str
) -> None:
    (tmp_path / "tar").write_bytes(b"layer " * 500_000)
    blob = _compress(tmp_path, algorithm, "one")
    time.sleep(1.1)  # gzip's header counts seconds
    assert blob.read_bytes() == _compress(tmp_path, algorithm, "two").read_bytes()
    descriptor = json.loads((tmp_path / "one.json").read_text())
    assert descriptor["digest"] == sha256_file(blob)
    assert descriptor["size"] == blob.stat().st_size < 100_000
    assert descriptor["mediaType"].endswith(f".tar+{algorithm}")
    content = blob.read_bytes()
    plain = (
        zstandard.ZstdDecompressor().decompress(content)
        if algorithm == "zstd"
        else gzip.decompress(content)
    )
    assert plain == (tmp_path / "tar").read_bytes()


def test_a_time_in_the_header_of_gzip_changes_the_layer(tmp_path: pathlib.Path) -> None:
    (tmp_path / "tar").write_bytes(b"layer")
    sound = _compress(tmp_path, "gzip", "sound").read_bytes()
    planted = _compress(tmp_path, "gzip", "planted", "--plant=gzip-header").read_bytes()
    assert sound != planted
    assert gzip.decompress(sound) == gzip.decompress(planted)
