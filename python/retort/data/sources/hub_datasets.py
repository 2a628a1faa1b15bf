"""AG News and IMDB, from the hub, with the test sets that they come with."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from datasets import Dataset  # type: ignore[import-untyped]
from pyarrow.dataset import ParquetFragmentScanOptions  # type: ignore[import-untyped]

from retort.data.files.hub import hub_files
from retort.data.sources.documents import Document, Part

_log = logging.getLogger(__name__)
_ROWS = 256


@dataclass(frozen=True)
class _HubDataset:
    """A data set in Parquet files with the columns `text` and `label`, at a pinned commit."""

    repository: str
    revision: str
    train: str
    held_out: str
    labels: tuple[str, ...]


_DATASETS = {
    "ag_news": _HubDataset(
        repository="fancyzhx/ag_news",
        revision="eb185aade064a813bc0b7f42de02595523103ca4",
        train="data/train-00000-of-00001.parquet",
        held_out="data/test-00000-of-00001.parquet",
        labels=("World", "Sports", "Business", "Sci/Tech"),
    ),
    "imdb": _HubDataset(
        repository="stanfordnlp/imdb",
        revision="e6281661ce1c48d982bc483cf8a173c1bbeb5d31",
        train="plain_text/train-00000-of-00001.parquet",
        held_out="plain_text/test-00000-of-00001.parquet",
        labels=("negative", "positive"),
    ),
}


def stream(name: str, endpoint: str | None = None, cache: Path | None = None) -> Iterator[Document]:
    """The documents of `ag_news` or `imdb`, those to learn from first.

    Args:
        endpoint, cache: another hub, another cache than the user's own.
    Raises:
        HubUnavailable: they are not in the cache, and the hub cannot be reached.
    """
    dataset = _DATASETS[name]
    _log.info("taking %s from the hub or its local cache", dataset.repository)
    root = hub_files(
        dataset.repository,
        dataset.revision,
        (dataset.train, dataset.held_out),
        kind="dataset",
        endpoint=endpoint,
        cache=cache,
    )
    yield from _read(root / dataset.train, dataset.labels, "train")
    yield from _read(root / dataset.held_out, dataset.labels, "held_out")


def _read(file: Path, labels: tuple[str, ...], part: Part) -> Iterator[Document]:
    # Streaming reads the file itself; otherwise a copy of it is made in the user's home first.
    # Without these two, what it has read of the file stays in memory to the end: Arrow's tables
    # instead of rows, and no buffer of Arrow's own.
    unbuffered = ParquetFragmentScanOptions(pre_buffer=False)
    with TemporaryDirectory() as scratch:
        rows = Dataset.from_parquet(
            str(file), streaming=True, cache_dir=scratch, fragment_scan_options=unbuffered
        )
        for table in rows.with_format("arrow").iter(_ROWS):
            for row in table.to_pylist():
                yield Document(row["text"], labels[row["label"]], part)
