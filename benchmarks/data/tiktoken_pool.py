"""Tokenise JSONL by tiktoken in a process pool: lines in, one file of uint16 out, an end-of-text
behind each document.
"""

import argparse
import json
import multiprocessing
import os
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.data.tokenizers import gpt2_for_tiktoken
from retort.core.atomic import sync_path

if TYPE_CHECKING:
    import tiktoken

BIN = "train.bin"
_LINES = 500
_encoding: "tiktoken.Encoding"


def _prepare() -> None:
    global _encoding  # noqa: PLW0603 - what a worker of a pool keeps
    _encoding = gpt2_for_tiktoken()


def _encode(lines: Sequence[bytes]) -> bytes:
    ids: list[int] = []
    for line in lines:
        ids += _encoding.encode_ordinary(json.loads(line)["text"])
        ids.append(_encoding.eot_token)
    return np.array(ids, np.uint16).tobytes()


def main() -> None:
    """Tokenise one corpus."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--workers", type=int, required=True)
    options = parser.parse_args()
    with (
        multiprocessing.Pool(options.workers, _prepare) as pool,
        options.corpus.open("rb") as lines,
        (options.out / BIN).open("wb") as written,
    ):
        pieces = iter(lambda: list(islice(lines, _LINES)), [])
        for ids in pool.imap(_encode, pieces):
            written.write(ids)
        written.flush()
        os.fsync(written.fileno())
    sync_path(options.out)


if __name__ == "__main__":
    main()
