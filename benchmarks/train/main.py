"""Training beside DistributedDataParallel, plain loops and the transformers Trainer.

    ./tools/bazel run //benchmarks/train
    ./tools/bazel run //benchmarks/train -- --parts ddp control --rounds 5
    ./tools/bazel run //benchmarks/train -- --quick --out /tmp/quick

Prepares BBC News and the movie reviews, trains MiniLM on them in processes that take turns, and writes
`train-DATE.md` with its picture. Wants a machine with nothing else to do.
"""

import argparse
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.markdown import Section
from benchmarks.page import Page
from benchmarks.page import arguments as page_arguments
from benchmarks.train import pictures as train_pictures
from benchmarks.train import result as train_result
from benchmarks.train.comparison import Comparison
from benchmarks.train.parts import Amounts, Corpus, Parts
from benchmarks.train.stores import find_weights, prepare
from retort.core.cli import positive, run
from retort.data.store.store import TokenStore

_PARTS = ("control", "ddp", "plain", "trainer", "language", "gains")
_CORPORA: tuple[Corpus, ...] = ("bbc_news", "reviews")
_GAINS_AT = (2, 8)
"""Logical shards of a step: as many as processes, and more."""
_QUICK = Amounts(steps=2, fine_tune_steps=3, warm_up=1, rounds=1, fine_tune_rounds=1)


def main(arguments: Sequence[str]) -> int:
    """Measure, and write the result; 1 if a target was missed."""
    options = _parser().parse_args(arguments)
    page = Page("train", options.out)
    weights = find_weights()
    with tempfile.TemporaryDirectory(prefix="retort-benchmark-") as scratch:
        stores = prepare(_CORPORA, weights, Path(scratch))
        parts = Parts(stores, weights, _amounts(options), options.max_tokens, options.shards)
        sections = _sections(parts, stores, options.parts, page.picture("train"))
        title = "Training beside other ways to train"
        missed = page.write(title, sections, train_result.LIBRARIES, arguments)
    return int(bool(missed) and not options.quick)


def _sections(
    parts: Parts, stores: Mapping[Corpus, Path], names: Sequence[str], picture: Path
) -> Iterator[Section]:
    """Each part that is asked for, measured; the picture is written at the end."""
    opened = {corpus: TokenStore.open(path) for corpus, path in stores.items()}
    drawn: dict[str, Comparison] = {}
    if "control" in names:
        yield train_result.control(parts.control())
    if "ddp" in names:
        drawn["BBC News, two ranks"] = parts.ddp()
        yield train_result.ddp(drawn["BBC News, two ranks"])
    if "plain" in names:
        drawn["BBC News, one process"] = parts.plain()
        yield train_result.plain(drawn["BBC News, one process"])
    if "trainer" in names:
        for corpus, store in opened.items():
            title = f"{corpus}, a fine-tune"
            drawn[title] = parts.trainer(corpus)
            yield train_result.trainer(corpus, drawn[title], len(store.part("held_out")))
    if "language" in names:
        drawn["bbc_llama, from scratch"] = parts.language()
        yield train_result.language(drawn["bbc_llama, from scratch"])
    if "gains" in names:
        yield train_result.gains(
            {
                f"{corpus}, {shards} shards": parts.gains(corpus, shards)
                for corpus in _CORPORA
                for shards in _GAINS_AT
            }
        )
    if drawn:
        train_pictures.write_speeds(drawn, picture)
        yield Section((), f"![Speeds]({picture.name})")


def _amounts(options: argparse.Namespace) -> Amounts:
    if options.quick:
        return _QUICK
    return Amounts(
        steps=options.steps,
        fine_tune_steps=options.fine_tune_steps,
        warm_up=options.warm_up,
        rounds=options.rounds,
        fine_tune_rounds=options.fine_tune_rounds,
    )


def _parser() -> argparse.ArgumentParser:
    parser = page_arguments("train", __doc__, _PARTS)
    parser.add_argument("--rounds", type=positive, default=3, help="runs of each side, short ones")
    parser.add_argument("--fine-tune-rounds", type=positive, default=1, help="of each fine-tune")
    parser.add_argument("--steps", type=positive, default=13, help="of each short run")
    parser.add_argument("--fine-tune-steps", type=positive, default=100, help="of each fine-tune")
    parser.add_argument("--warm-up", type=positive, default=3, help="steps that do not count")
    parser.add_argument("--max-tokens", type=positive, default=64, help="of a text")
    parser.add_argument("--shards", type=positive, default=4, help="logical shards of a step")
    parser.add_argument("--quick", action="store_true", help="few steps, once: does it run?")
    return parser


if __name__ == "__main__":
    run(main)
