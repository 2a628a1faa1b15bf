"""Time and memory of a preparation against the size of its corpus."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.data.comparison import run_tool
from benchmarks.data.corpus import write_corpus
from benchmarks.data.tokenizers import Kind
from benchmarks.data.tools import MAP, OURS, Task, Tool
from benchmarks.process import Usage

LINES: tuple[tuple[Tool, Kind], ...] = (
    (OURS, "WordPiece"),
    (OURS, "BPE"),
    (MAP, "WordPiece"),
    (MAP, "BPE"),
)


@dataclass(frozen=True)
class Point:
    """One run: bytes of text in the corpus, and what the tool took."""

    text_bytes: int
    documents: int
    usage: Usage


@dataclass(frozen=True)
class Fit:
    """Seconds as `start + each * megabytes`, by least squares of relative errors.

    Attributes:
        worst: the largest relative error.
    """

    start: float
    each: float
    worst: float


def grow(
    megabytes: Sequence[int], tokenizers: dict[Kind, Path], scratch: Path, *, patience: float
) -> dict[tuple[str, Kind], list[Point]]:
    """Every tool once on corpora of rising sizes.

    Args:
        tokenizers: the `tokenizer.json` of each.
        patience: seconds; when a tool not ours has taken longer, it is not asked again.
    """
    points: dict[tuple[str, Kind], list[Point]] = {(tool.name, kind): [] for tool, kind in LINES}
    for size in sorted(megabytes):
        corpus = write_corpus(scratch / "corpus.jsonl", size * 10**6)
        for tool, kind in LINES:
            line = points[tool.name, kind]
            if tool is not OURS and line and line[-1].usage.seconds > patience:
                continue
            task = Task(corpus.file, tokenizers[kind], scratch / "out")
            usage, _ = run_tool(tool, task, read=False)
            line.append(Point(corpus.text_bytes, corpus.documents, usage))
            print(
                f"{size} MB, {kind}, {tool.name}: {usage.seconds:.1f} s, "
                f"{usage.memory / 1e6:.0f} MB",
                file=sys.stderr,
                flush=True,
            )
        corpus.file.unlink()
    return points


def fit(points: Sequence[Point]) -> Fit:
    """How near to a straight line the times lie; at least three points."""
    megabytes = np.array([point.text_bytes / 1e6 for point in points])
    seconds = np.array([point.usage.seconds for point in points])
    each, start = np.polyfit(megabytes, seconds, 1, w=1 / seconds)
    worst = np.abs((start + each * megabytes) / seconds - 1).max()
    return Fit(float(start), float(each), float(worst))
