"""The data pipeline beside other tools: speed, memory, reading, growth.

    ./tools/bazel run //benchmarks/data -- --size 100 --runs 5
    ./tools/bazel run //benchmarks/data -- --parts growth --growth 10 100 1000 2000
    ./tools/bazel run //benchmarks/data -- --parts tools --kinds BPE --size 1000 --runs 1
    ./tools/bazel run //benchmarks/data -- --quick --out /tmp/quick

Makes its corpora and tokenizers, runs every tool on them in processes of their own, and writes
`data-DATE.md` with its pictures. Fails where two tools disagree on one token number, or where our
memory is over `--limit`.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.data import pictures as data_pictures
from benchmarks.data import result as data_result
from benchmarks.data.comparison import Comparison, compare
from benchmarks.data.corpus import Corpus, write_corpus
from benchmarks.data.growth import grow
from benchmarks.data.tokenizers import Kind, write_tokenizer
from benchmarks.data.tools import MAP, OURS, OURS_EXACT, TIKTOKEN, TOOLS, Task, prepare
from benchmarks.markdown import Section
from benchmarks.page import Page
from benchmarks.page import arguments as page_arguments
from benchmarks.process import python, run_measured
from retort.core.cli import Invocation, positive, run

_KINDS: tuple[Kind, ...] = ("WordPiece", "BPE")
_PARTS = ("tools", "reading", "growth")
_NEEDED = (OURS, OURS_EXACT, MAP, TIKTOKEN)


class Benchmark:
    """What the parts share: the options, a directory to work in, and the page with its pictures."""

    def __init__(self, options: argparse.Namespace, scratch: Path, page: Page) -> None:
        self._options = options
        self._scratch = scratch
        self._page = page
        self._tokenizers: dict[Kind, Path] = {}
        for kind in _KINDS:
            self._tokenizers[kind] = scratch / f"{kind}.json"
            write_tokenizer(kind, self._tokenizers[kind])
        self.over_limit = False

    def sections(self) -> Iterator[Section]:
        """Each part that is asked for, measured."""
        parts = self._options.parts
        if "tools" in parts or "reading" in parts:
            corpus = write_corpus(self._scratch / "tools.jsonl", self._options.size * 10**6)
            if "tools" in parts:
                yield from self._tools(corpus)
            if "reading" in parts:
                yield self._reading(corpus)
            corpus.file.unlink()
        if "growth" in parts:
            yield self._growth()

    def _tools(self, corpus: Corpus) -> Iterator[Section]:
        runs = self._options.runs
        comparisons: list[Comparison] = []
        tools = [tool for tool in TOOLS if tool.name not in self._options.without]
        for kind in self._options.kinds:
            tokenizer = self._tokenizers[kind]
            comparisons.append(
                compare(tools, kind, corpus, tokenizer, runs=runs, scratch=self._scratch)
            )
            encoding = python("benchmarks.data.encoder", corpus.file, tokenizer, "--runs", runs)
            _, rates = run_measured(encoding)
            yield data_result.tools(comparisons[-1], json.loads(rates))
        picture = self._page.picture("data-tools")
        data_pictures.write_tools(comparisons, picture)
        yield Section((), f"![Tools]({picture.name})")

    def _reading(self, corpus: Corpus) -> Section:
        stores = []
        for kind in ("BPE", "WordPiece"):
            task = Task(corpus.file, self._tokenizers[kind], self._scratch / f"store-{kind}")
            task.out.mkdir()
            run_measured(prepare(task, action="ignore"))
            stores.append(task.out / "store")
        runs = self._options.runs
        few = ("--seconds", 0.05, "--steps", 3) if self._options.quick else ()
        _, found = run_measured(python("benchmarks.data.reading", *stores, "--runs", runs, *few))
        return data_result.reading(json.loads(found))

    def _growth(self) -> Section:
        limit = self._options.limit
        points = grow(
            self._options.growth, self._tokenizers, self._scratch, patience=self._options.patience
        )
        ours = [point for (tool, _), line in points.items() if tool == OURS.name for point in line]
        self.over_limit = any(point.usage.memory > limit * 10**6 for point in ours)
        picture = self._page.picture("data-growth")
        data_pictures.write_growth(points, limit, picture)
        return data_result.growth(points, limit, picture.name)


def main(arguments: Sequence[str]) -> int:
    """Measure, and write the result."""
    options = _parser().parse_args(arguments)
    if options.quick:
        options.size, options.runs, options.growth = 1, 1, [1]
    page = Page("data", options.out)
    resolve = Invocation.from_environment().resolve
    scratch_at = resolve(options.scratch) if options.scratch else None
    with tempfile.TemporaryDirectory(prefix="retort-benchmark-", dir=scratch_at) as scratch:
        benchmark = Benchmark(options, Path(scratch), page)
        title = "The data pipeline beside other tools"
        page.write(title, benchmark.sections(), data_result.LIBRARIES, arguments)
    if benchmark.over_limit:
        print(f"memory is over the limit of {options.limit} MB", file=sys.stderr)
    return int(benchmark.over_limit)


def _parser() -> argparse.ArgumentParser:
    parser = page_arguments("data", __doc__, _PARTS)
    parser.add_argument("--kinds", nargs="+", choices=_KINDS, default=_KINDS, help="for the tools")
    parser.add_argument(
        "--without",
        nargs="+",
        choices=sorted({tool.name for tool in TOOLS} - {one.name for one in _NEEDED}),
        default=[],
        metavar="TOOL",
        help="tools to leave out, where a corpus is large",
    )
    parser.add_argument("--size", type=positive, default=100, metavar="MB", help="for the tools")
    parser.add_argument("--runs", type=positive, default=5, help="of each tool")
    parser.add_argument(
        "--growth",
        type=positive,
        nargs="+",
        default=[10, 30, 100, 300, 1000, 2000],
        metavar="MB",
        help="sizes of corpora",
    )
    parser.add_argument("--limit", type=positive, default=600, metavar="MB", help="of our memory")
    parser.add_argument(
        "--patience",
        type=positive,
        default=120,
        metavar="SECONDS",
        help="a tool not ours that took longer is not asked for a larger corpus",
    )
    parser.add_argument("--scratch", metavar="DIR", help="where corpora go, on a real disk")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, once: does it run?")
    return parser


if __name__ == "__main__":
    run(main)
