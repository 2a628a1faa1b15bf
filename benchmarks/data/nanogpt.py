"""Tokenise JSONL as a nanoGPT user would: `datasets.map` with tiktoken for each document, and then
all numbers into one memory map of uint16, an end-of-text behind each document.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from datasets import load_dataset  # type: ignore[import-untyped]

from benchmarks.data.tokenizers import gpt2_for_tiktoken
from retort.core.atomic import sync_path

BIN = "train.bin"
_PIECES = 1024


def main() -> None:
    """Tokenise one corpus."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--workers", type=int, required=True)
    options = parser.parse_args()
    encoding = gpt2_for_tiktoken()

    def encode(row: dict[str, Any]) -> dict[str, Any]:
        ids = [*encoding.encode_ordinary(row["text"]), encoding.eot_token]
        return {"ids": ids, "length": len(ids)}

    rows = load_dataset(
        "json", data_files=str(options.corpus), split="train", cache_dir=str(options.out / "cache")
    )
    mapped = rows.map(encode, num_proc=options.workers, remove_columns=rows.column_names)
    total = int(np.sum(mapped["length"], dtype=np.uint64))
    file = options.out / BIN
    written = np.memmap(file, np.uint16, "w+", shape=(total,))
    pieces = min(_PIECES, len(mapped))
    start = 0
    for number in range(pieces):
        piece = mapped.shard(pieces, number, contiguous=True).with_format("numpy")
        ids = np.concatenate(piece[:]["ids"])
        written[start : start + len(ids)] = ids
        start += len(ids)
    written.flush()
    sync_path(file)
    sync_path(options.out)


if __name__ == "__main__":
    main()
