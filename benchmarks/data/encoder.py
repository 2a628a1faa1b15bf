"""How fast texts in memory are encoded, on one core: our encoder, and the `tokenizers` library.

Each encodes the whole corpus from its beginning, with nothing remembered. Prints JSON: bytes of
text a second of each, by name.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from retort.data.tokenizers.choose import encoder_for
from retort.data.tokenizers.library import load_tokenizer

_TEXTS = 500


def main() -> None:
    """Measure both, in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("tokenizer", type=Path)
    parser.add_argument("--runs", type=int, required=True)
    options = parser.parse_args()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    with options.corpus.open(encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in lines]
    size = sum(len(text.encode("utf-8")) for text in texts)
    definition = options.tokenizer.read_bytes()
    seconds: dict[str, list[float]] = {}
    for _ in range(options.runs):
        ours, library = encoder_for(definition), load_tokenizer(definition)
        encoders: dict[str, Callable[[Sequence[str]], object]] = {
            ours.name: ours.encode,
            "tokenizers": partial(library.encode_batch_fast, add_special_tokens=False),
        }
        for name, encode in encoders.items():
            start = time.process_time()
            for place in range(0, len(texts), _TEXTS):
                encode(texts[place : place + _TEXTS])
            seconds.setdefault(name, []).append(time.process_time() - start)
    print(json.dumps({name: size / statistics.median(took) for name, took in seconds.items()}))


if __name__ == "__main__":
    main()
