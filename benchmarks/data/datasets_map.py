"""Tokenise JSONL as the documentation of `datasets` shows: `load_dataset`, then a batched `map`.

The result is the Arrow cache that `map` leaves.
"""

import argparse
from pathlib import Path
from typing import Any

from datasets import load_dataset  # type: ignore[import-untyped]
from transformers import PreTrainedTokenizerFast

from retort.core.atomic import sync_path


def main() -> None:
    """Tokenise one corpus."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("tokenizer", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--ids-only", action="store_true", help="no masks, no types of tokens")
    options = parser.parse_args()
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_file=str(options.tokenizer)
    )
    rows = load_dataset(
        "json", data_files=str(options.corpus), split="train", cache_dir=str(options.out)
    )
    returned = (
        {"return_attention_mask": False, "return_token_type_ids": False} if options.ids_only else {}
    )

    def encode(batch: dict[str, list[Any]]) -> Any:
        return tokenizer(batch["text"], add_special_tokens=False, **returned)

    mapped = rows.map(encode, batched=True, num_proc=options.workers, remove_columns=["text"])
    for file in mapped.cache_files:
        sync_path(Path(file["filename"]))


if __name__ == "__main__":
    main()
