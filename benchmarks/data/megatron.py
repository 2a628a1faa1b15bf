"""Tokenise JSONL in Megatron's manner: a process pool over lines, each worker with a tokenizer of
the `tokenizers` library, into `train.bin` (numbers) and `train.idx` (how long the documents are).
"""

import argparse
import json
import multiprocessing
import os
import struct
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from retort.core.atomic import sync_path

BIN = "train.bin"
INDEX = "train.idx"
MAGIC = b"MMIDIDX\x00\x00"
_UINT16 = 8
"""What the index calls the type."""
_tokenizer: Tokenizer


def _prepare(file: str) -> None:
    global _tokenizer  # noqa: PLW0603 - what a worker of a pool keeps
    _tokenizer = Tokenizer.from_file(file)
    _tokenizer.no_truncation()
    _tokenizer.no_padding()


def _encode(line: bytes) -> list[int]:
    ids: list[int] = _tokenizer.encode(json.loads(line)["text"], add_special_tokens=False).ids
    return ids


def main() -> None:
    """Tokenise one corpus."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("tokenizer", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--workers", type=int, required=True)
    options = parser.parse_args()
    lengths = []
    with (
        multiprocessing.Pool(options.workers, _prepare, (str(options.tokenizer),)) as pool,
        options.corpus.open("rb") as lines,
        (options.out / BIN).open("wb") as written,
    ):
        for ids in pool.imap(_encode, lines, chunksize=32):
            written.write(np.array(ids, np.uint16).tobytes())
            lengths.append(len(ids))
        written.flush()
        os.fsync(written.fileno())
    _write_index(options.out / INDEX, np.array(lengths, np.int32))
    sync_path(options.out)


def _write_index(file: Path, lengths: np.ndarray[tuple[int], np.dtype[np.int32]]) -> None:
    """Version 1: type, counts, the length of each document, its first byte, and its number."""
    ends = np.cumsum(lengths, dtype=np.int64) * np.dtype(np.uint16).itemsize
    with file.open("wb") as written:
        written.write(MAGIC)
        written.write(struct.pack("<QBQQ", 1, _UINT16, len(lengths), len(lengths) + 1))
        written.write(lengths.tobytes())
        written.write(np.concatenate([[0], ends[:-1]]).astype(np.int64).tobytes())
        written.write(np.arange(len(lengths) + 1, dtype=np.int64).tobytes())
        written.flush()
        os.fsync(written.fileno())


def read_lengths(file: Path) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    """The length of each document, from an index."""
    content = file.read_bytes()
    head = struct.calcsize("<QBQQ")
    count = struct.unpack_from("<QBQQ", content, len(MAGIC))[2]
    return np.frombuffer(content, np.int32, count, len(MAGIC) + head)


if __name__ == "__main__":
    main()
