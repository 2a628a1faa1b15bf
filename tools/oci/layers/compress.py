"""Compresses a layer.

zstd is the `zstandard` wheel's own library, so its bits are pinned by the lock. gzip is the zlib of the Python that
builds: it is for clients that read nothing else, and its digests are equal only where that zlib is.
"""

import argparse
import gzip
import pathlib
import shutil
import time
from collections.abc import Sequence

import zstandard

from tools.oci.image.layout import LAYER, Descriptor, canonical_json, sha256_file
from tools.oci.layers import faults

_BLOCK = 1 << 20
_ZSTD_LEVEL = 3
_GZIP_LEVEL = 6


def zstd(source: pathlib.Path, target: pathlib.Path) -> None:
    """Writes one frame with its content size and no dictionary; one thread, so that nothing is cut by their number."""
    compressor = zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=True)
    with source.open("rb") as reader, target.open("wb") as writer:
        compressor.copy_stream(reader, writer, size=source.stat().st_size)


def gzipped(source: pathlib.Path, target: pathlib.Path, mtime: float = 0) -> None:
    """Writes a gzip member (RFC 1952) whose header has no name and, by default, no time."""
    with (
        source.open("rb") as reader,
        target.open("wb") as file,
        gzip.GzipFile("", "wb", _GZIP_LEVEL, file, mtime) as writer,
    ):
        shutil.copyfileobj(reader, writer, _BLOCK)


def main(arguments: Sequence[str] | None = None) -> None:
    """Compresses a tar and writes the descriptor of the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--algorithm", required=True, choices=("zstd", "gzip"))
    parser.add_argument("--tar", required=True, type=pathlib.Path)
    parser.add_argument("--blob", required=True, type=pathlib.Path)
    parser.add_argument("--descriptor", required=True, type=pathlib.Path)
    parser.add_argument("--plant", default="none", choices=faults.LAYER_FAULTS)
    options = parser.parse_args(arguments)
    if options.algorithm == "zstd":
        zstd(options.tar, options.blob)
    else:
        planted = options.plant == "gzip-header"
        gzipped(options.tar, options.blob, time.time() if planted else 0)
    blob = Descriptor(
        f"{LAYER}+{options.algorithm}", sha256_file(options.blob), options.blob.stat().st_size
    )
    options.descriptor.write_bytes(canonical_json(blob.to_json()))


if __name__ == "__main__":
    main()
