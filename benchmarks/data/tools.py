"""The tools that are compared: how each is started, and what token numbers it has left."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
from numpy.typing import NDArray

from benchmarks.data import megatron as data_megatron
from benchmarks.data import nanogpt as data_nanogpt
from benchmarks.data import tiktoken_pool as data_tiktoken
from benchmarks.data.tokenizers import Kind
from benchmarks.process import python
from retort.data.store.store import TokenStore

GPT2_END_OF_TEXT = 50_256


@dataclass(frozen=True)
class Task:
    """What a tool is given: JSONL, a `tokenizer.json`, an empty directory, how many processes."""

    corpus: Path
    tokenizer: Path
    out: Path
    workers: int = 2


@dataclass(frozen=True)
class Tool:
    """Something that tokenises a corpus.

    Attributes:
        kinds: the tokenizers that it knows.
        command: starts it.
        documents: the token numbers of each document, from the directory that it has filled.
    """

    name: str
    kinds: tuple[Kind, ...]
    command: Callable[[Task], list[str]]
    documents: Callable[[Path], Iterator[NDArray[Any]]]


def recipe(task: Task, **near_duplicates: object) -> Path:
    """The data recipe of a task, in a file. `near_duplicates` is its section of that name."""
    file = task.out / "recipe.yaml"
    data = {
        "source": "jsonl",
        "files": {"paths": [str(task.corpus)], "label": "label"},
        "near_duplicates": near_duplicates,
    }
    content = {"data": data, "tokenizer": {"file": str(task.tokenizer)}}
    file.write_text(json.dumps(content))  # which is YAML
    return file


def prepare(task: Task, **near_duplicates: object) -> list[str]:
    """The command of ours."""
    return python(
        "retort.data.prepare",
        *("--config", recipe(task, **near_duplicates)),
        *("--out", task.out / "store", "--workers", task.workers, "--json"),
    )


def _of_store(out: Path) -> Iterator[NDArray[Any]]:
    for part in TokenStore.open(out / "store").parts.values():
        yield from map(part.document, range(len(part)))


def _of_map(out: Path) -> Iterator[NDArray[Any]]:
    for file in sorted(out.rglob("cache-*.arrow")):
        with pa.memory_map(str(file)) as source, pa.ipc.open_stream(source) as stream:
            for batch in stream:
                column = batch.column("input_ids")
                offsets = column.offsets.to_numpy()
                ids = column.values.to_numpy(zero_copy_only=False)
                yield from np.split(ids[: offsets[-1]], offsets[1:-1])


def _of_end_of_texts(file: Path) -> Iterator[NDArray[Any]]:
    ids = np.fromfile(file, np.uint16)
    ends = np.flatnonzero(ids == GPT2_END_OF_TEXT)
    starts = [0, *(ends[:-1] + 1)]
    for start, end in zip(starts, ends, strict=True):
        yield ids[start:end]


def _of_index(out: Path) -> Iterator[NDArray[Any]]:
    ids = np.fromfile(out / data_megatron.BIN, np.uint16)
    lengths = data_megatron.read_lengths(out / data_megatron.INDEX)
    yield from np.split(ids, np.cumsum(lengths)[:-1])


def _by_map(task: Task) -> list[str]:
    return python(
        "benchmarks.data.datasets_map",
        *(task.corpus, task.tokenizer, task.out, "--workers", task.workers),
    )


OURS = Tool("retort", ("WordPiece", "BPE"), prepare, _of_store)
OURS_ALONE = Tool(
    "retort, 1 process",
    ("WordPiece", "BPE"),
    lambda task: prepare(Task(task.corpus, task.tokenizer, task.out, workers=1)),
    _of_store,
)
OURS_EXACT = Tool(
    "retort, exact duplicates alone",
    ("WordPiece", "BPE"),
    lambda task: prepare(task, action="ignore"),
    _of_store,
)
MAP = Tool("datasets.map", ("WordPiece", "BPE"), _by_map, _of_map)
TIKTOKEN = Tool(
    "tiktoken in a process pool",
    ("BPE",),
    lambda task: python(
        "benchmarks.data.tiktoken_pool", task.corpus, task.out, "--workers", task.workers
    ),
    lambda out: _of_end_of_texts(out / data_tiktoken.BIN),
)
TOOLS = (
    OURS,
    OURS_EXACT,
    OURS_ALONE,
    MAP,
    Tool(
        "datasets.map, numbers alone",
        ("WordPiece", "BPE"),
        lambda task: [*_by_map(task), "--ids-only"],
        _of_map,
    ),
    Tool(
        "Megatron's manner",
        ("WordPiece", "BPE"),
        lambda task: python(
            "benchmarks.data.megatron",
            *(task.corpus, task.tokenizer, task.out, "--workers", task.workers),
        ),
        _of_index,
    ),
    TIKTOKEN,
    Tool(
        "nanoGPT's manner",
        ("BPE",),
        lambda task: python(
            "benchmarks.data.nanogpt", task.corpus, task.out, "--workers", task.workers
        ),
        lambda out: _of_end_of_texts(out / data_nanogpt.BIN),
    ),
)
