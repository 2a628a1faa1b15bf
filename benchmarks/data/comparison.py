"""Every tool on one corpus, in turn, several times: from bytes in to a finished result on disk."""

import hashlib
import shutil
import statistics
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from benchmarks.data.corpus import Corpus
from benchmarks.data.tokenizers import Kind
from benchmarks.data.tools import Task, Tool
from benchmarks.process import Usage, run_measured


@dataclass(frozen=True)
class Content:
    """The token numbers of a corpus: equal for equal documents in any order.

    Attributes:
        documents, tokens: in the distinct documents.
        digest: of their sorted digests.
    """

    documents: int
    tokens: int
    digest: str

    @classmethod
    def of(cls, documents: Iterable[NDArray[Any]]) -> "Content":
        """What a tool has left."""
        lengths = {}
        for ids in documents:
            lengths[hashlib.sha256(ids.astype("<u4").tobytes()).digest()] = len(ids)
        joined = b"".join(sorted(lengths))
        return cls(len(lengths), sum(lengths.values()), hashlib.sha256(joined).hexdigest())


@dataclass(frozen=True)
class Runs:
    """What a tool took, run by run."""

    usages: tuple[Usage, ...]

    @property
    def seconds(self) -> float:
        """The median of the runs, as the two below."""
        return statistics.median(one.seconds for one in self.usages)

    @property
    def cpu_seconds(self) -> float:
        return statistics.median(one.cpu_seconds for one in self.usages)

    @property
    def memory(self) -> int:
        return int(statistics.median(one.memory for one in self.usages))

    @property
    def spread(self) -> tuple[float, float]:
        """The least and the most seconds."""
        return min(one.seconds for one in self.usages), max(one.seconds for one in self.usages)


@dataclass(frozen=True)
class Comparison:
    """The tools that know a tokenizer, by their names, and what all of them have found."""

    kind: Kind
    corpus: Corpus
    content: Content
    runs: dict[str, Runs]

    def rate(self, name: str) -> float:
        """Megabytes of text a second."""
        return self.corpus.text_bytes / self.runs[name].seconds / 1e6


def compare(
    tools: Iterable[Tool], kind: Kind, corpus: Corpus, tokenizer: Path, *, runs: int, scratch: Path
) -> Comparison:
    """Run all tools that know a tokenizer `runs` times, one after the other each time.

    Raises:
        AssertionError: two tools found different token numbers, so that comparing their times
            would mean nothing.
    """
    known = [tool for tool in tools if kind in tool.kinds]
    usages: dict[str, list[Usage]] = {tool.name: [] for tool in known}
    contents: dict[str, Content] = {}
    for number in range(runs):
        for tool in known:
            task = Task(corpus.file, tokenizer, scratch / "out")
            usage, content = run_tool(tool, task, read=number == 0)
            usages[tool.name].append(usage)
            if content is not None:
                contents[tool.name] = content
            print(f"{kind}, {tool.name}: {usage.seconds:.1f} s", file=sys.stderr, flush=True)
    assert len(set(contents.values())) == 1, f"tools disagree on token numbers: {contents}"
    return Comparison(
        kind,
        corpus,
        next(iter(contents.values())),
        {name: Runs(tuple(measured)) for name, measured in usages.items()},
    )


def run_tool(tool: Tool, task: Task, *, read: bool) -> tuple[Usage, Content | None]:
    """Run a tool once, and delete what it wrote, caches included.

    Args:
        task: its directory is made here.
        read: whether the token numbers are read back first.
    """
    task.out.mkdir()
    try:
        usage, _ = run_measured(tool.command(task))
        return usage, Content.of(tool.documents(task.out)) if read else None
    finally:
        shutil.rmtree(task.out)
