"""Show what is in a token store: its parts, labels, lengths and a few documents.

python -m retort.data.inspection.inspect_store DIR
"""

from retort.core.signals import starting

if __name__ == "__main__":
    starting()

import argparse
import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retort.core.cli import Arguments, Invocation, run, seal_line
from retort.data.files.decoding import printable
from retort.data.store.store import StorePart, TokenStore
from retort.data.tokenizers.library import load_tokenizer

_BAR = 40
_BINS = 12
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_SHOWN_TOKENS = 40


def main(arguments: Sequence[str]) -> int:
    """Verify a store and print it; the last line is its seal."""
    options = _parser().parse_args(arguments)
    store = TokenStore.open(Invocation.from_environment().resolve(options.store))
    if options.json:
        print(json.dumps(_as_json(store)))
        return 0
    facts = store.facts
    print(
        f"token store of {facts.dtype}, vocabulary {facts.vocabulary_size:,}, "
        f"{sum(part.tokens for part in store.parts.values()):,} tokens"
    )
    for name, part in store.parts.items():
        print(
            f"\n{name}: {len(part):,} documents, {part.tokens:,} tokens, {len(part.shards)} shards"
        )
        print(_lengths(part.lengths))
        if store.labels:
            print(_labels(part, [printable(label) for label in store.labels]))
        print(_samples(store, part, options.samples))
    print(seal_line(store.sealed))
    return 0


def _lengths(lengths: NDArray[np.int64]) -> str:
    quantiles = np.quantile(lengths, _QUANTILES, method="lower").astype(int).tolist()
    shares = ", ".join(
        f"{share:.0%}: {length:,}" for share, length in zip(_QUANTILES, quantiles, strict=True)
    )
    edges = np.unique(
        np.geomspace(max(1, int(lengths.min())), int(lengths.max()) + 1, _BINS + 1).astype(np.int64)
    )
    counts, _ = np.histogram(lengths, edges)
    names = [f"{low:,} to {high - 1:,}" for low, high in pairwise(edges)]
    return f"  tokens in a document: {shares}, longest {int(lengths.max()):,}\n" + _bars(
        names, counts.tolist()
    )


def _labels(part: StorePart, labels: Sequence[str]) -> str:
    counts = np.bincount(part.labels[part.labels >= 0], minlength=len(labels))
    return "  labels\n" + _bars(labels, counts.tolist())


def _bars(names: Sequence[str], counts: Sequence[int]) -> str:
    width = max(len(name) for name in names)
    most = max(*counts, 1)
    return "\n".join(
        f"    {name:>{width}} {'█' * -(-count * _BAR // most):<{_BAR}} {count:,}"
        for name, count in zip(names, counts, strict=True)
    )


def _samples(store: TokenStore, part: StorePart, count: int) -> str:
    """A few documents, evenly spread, decoded."""
    tokenizer = load_tokenizer(store.tokenizer)
    count = min(count, len(part))
    numbers = [number * len(part) // count for number in range(count)]
    lines = []
    for number in numbers:
        ids = part.document(number)
        label = int(part.labels[number])
        text = tokenizer.decode(ids[:_SHOWN_TOKENS].tolist(), skip_special_tokens=False)
        more = " …" if len(ids) > _SHOWN_TOKENS else ""
        name = f" [{printable(store.labels[label])}]" if label >= 0 else ""
        lines.append(f"  {number}{name} {printable(' '.join(text.split()))}{more}")
    return "\n".join(lines)


def _as_json(store: TokenStore) -> dict[str, Any]:
    parts = {
        name: {
            "documents": len(part),
            "tokens": part.tokens,
            "shards": len(part.shards),
            "longest": int(part.lengths.max()),
            "labels": {
                label: int((part.labels == number).sum())
                for number, label in enumerate(store.labels)
            },
        }
        for name, part in store.parts.items()
    }
    return {
        "seal": store.sealed.seal,
        "path": str(store.sealed.path),
        "vocabulary_size": store.facts.vocabulary_size,
        "parts": parts,
    }


def _parser() -> argparse.ArgumentParser:
    parser = Arguments(prog="inspect", description="Show what is in a token store.")
    parser.add_argument("store", metavar="DIR", help="a token store")
    parser.add_argument(
        "--samples", type=int, default=3, metavar="N", help="documents of each part (%(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


if __name__ == "__main__":
    run(main)
