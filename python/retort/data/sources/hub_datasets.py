"""Data sets of the hub at pinned commits, read a few rows at a time by the `datasets` library."""

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from datasets import (  # type: ignore[import-untyped]
    ClassLabel,
    Dataset,
    disable_progress_bars,
    load_dataset_builder,
)
from datasets.data_files import DataFilesDict, DataFilesList  # type: ignore[import-untyped]
from datasets.packaged_modules.parquet.parquet import Parquet  # type: ignore[import-untyped]
from pyarrow.dataset import ParquetFragmentScanOptions  # type: ignore[import-untyped]

from retort.core.config import nearest
from retort.core.errors import DataError, RetortError, shown
from retort.data.config import HubSource
from retort.data.files.decoding import Decoder, Where
from retort.data.files.hub import UNREACHABLE, asking_hub, hub_files
from retort.data.sources.columns import Columns, check_columns, records_of
from retort.data.sources.documents import Part
from retort.data.sources.records import Record, place_of, some

_log = logging.getLogger(__name__)
_ROWS = 256
_HUB = "hf://datasets/"


@dataclass(frozen=True)
class _HubDataset:
    """A data set in Parquet files with the columns `text` and `label`, at a pinned commit."""

    repository: str
    revision: str
    train: str
    held_out: str
    labels: tuple[str, ...]


_KNOWN = {
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


@dataclass(frozen=True)
class _Split:
    """Rows of one part.

    Attributes:
        rows: an `IterableDataset` of Arrow tables.
        name: what errors and reports call the place of a row; rows of a name are counted on.
    """

    rows: Any
    name: str
    part: Part | None
    columns: Columns


def read_hub(
    source: str | HubSource,
    decoder: Decoder,
    endpoint: str | None = None,
    cache: Path | None = None,
) -> Iterator[tuple[Part | None, Record]]:
    """The documents of a data set, those to learn from first, and the part that each is in.

    Args:
        source: `ag_news`, `imdb`, or any other.
        endpoint, cache: for the former, another hub, another cache than the user's own.
    Raises:
        HubUnavailable: files are not in the cache, or are not to be kept there, and the hub cannot
            be reached or has no such data set.
        DataError: it has no such subset, split or column, a column is of another type, a row is bad
            and to be refused, or its files cannot be read.
    """
    counted: Counter[str] = Counter()
    # Streaming reads the files themselves; otherwise a copy is made in the user's home first.
    with TemporaryDirectory() as scratch, ExitStack() as stack:
        if isinstance(source, HubSource):
            stack.enter_context(asking_hub(source.hub, source.revision, "dataset"))
            stack.enter_context(_readable(source.hub))
            splits = _splits(source, scratch)
        else:
            splits = _known_splits(source, scratch, endpoint, cache)
        for split in splits:
            for number, table in enumerate(split.rows.with_format("arrow").iter(_ROWS)):
                if number == 0:
                    check_columns(table.schema, split.columns, split.name)
                for batch in table.to_batches():
                    before = Where(split.name, split.name, counted[split.name], None)
                    counted[split.name] += batch.num_rows
                    for record in records_of(batch, split.columns, before, decoder):
                        yield split.part, record


def _known_splits(
    name: str, scratch: str, endpoint: str | None, cache: Path | None
) -> Iterator[_Split]:
    known = _KNOWN[name]
    _log.info("taking %s from the hub or its local cache", known.repository)
    root = hub_files(
        known.repository,
        known.revision,
        (known.train, known.held_out),
        kind="dataset",
        endpoint=endpoint,
        cache=cache,
    )
    columns = Columns("text", "label", known.labels)
    parts: tuple[tuple[Part, str], ...] = (("train", known.train), ("held_out", known.held_out))
    for part, file in parts:
        rows = Dataset.from_parquet(
            str(root / file),
            streaming=True,
            cache_dir=scratch,
            fragment_scan_options=_unbuffered(),
        )
        yield _Split(rows, name, part, columns)


def _splits(source: HubSource, scratch: str) -> Iterator[_Split]:
    _log.info("taking %s from the hub%s", source.hub, "" if source.streaming else "'s local cache")
    logging.getLogger("datasets").setLevel(logging.CRITICAL)  # what it says of an error is raised
    disable_progress_bars()
    builder = _builder(source, scratch)
    files = dict(builder.config.data_files)
    wanted: list[tuple[Part | None, str]] = [(None, source.split)]
    if source.held_out_split is not None:
        wanted = [("train", source.split), ("held_out", source.held_out_split)]
    for part, joined in wanted:
        for split in joined.split("+"):
            if split not in files:
                known = some(map(str, files))
                raise DataError(f"{source.hub}: has no split {split!r}{nearest(split, known)}")
            found = _pinned(source, files[split])
            builder.config.data_files = DataFilesDict({split: found})
            name = f"{source.hub}/{split}"
            columns, rows = _opened(builder, split, Columns(source.text, source.label), name)
            yield _Split(rows, name, part, columns)


def _builder(source: HubSource, scratch: str) -> Any:
    try:
        # With the prefix no directory that is called so is taken; in an empty cache no other commit is.
        return load_dataset_builder(
            f"{_HUB}{source.hub}", source.subset, revision=source.revision, cache_dir=scratch
        )
    except ValueError as error:
        if not str(error).startswith(("Config name is missing", "BuilderConfig")):
            raise
        detail = " ".join(str(error).partition("\nExample")[0].split())
        raise DataError(f"{source.hub}: data.source.subset: {shown(detail)}") from error


def _opened(builder: Any, split: str, columns: Columns, name: str) -> tuple[Columns, Any]:
    """The rows of a split, as few of their columns as the form of its files allows."""
    rows = builder.as_streaming_dataset(split)
    if rows.features is None:  # they are known from the first row on
        return columns, rows
    for column in columns.names:
        place_of(list(rows.features), column, name)
    if columns.label is not None and isinstance(rows.features[columns.label], ClassLabel):
        columns = replace(columns, classes=rows.features[columns.label].names)
    if isinstance(builder, Parquet):
        builder.config.columns = columns.names
        builder.config.fragment_scan_options = _unbuffered()
        rows = builder.as_streaming_dataset(split)
    return columns, rows


def _pinned(source: HubSource, files: DataFilesList) -> DataFilesList:
    """The files of a split: where the hub has them, or where its local cache does."""
    here = f"{_HUB}{source.hub}@{source.revision}/"
    elsewhere = [file for file in files if not file.startswith(here)]
    if elsewhere:
        raise DataError(
            f"{source.hub}: has files elsewhere, which no commit of it pins: {shown(elsewhere[0])}; "
            "get them yourself, and name them in data.files"
        )
    if source.streaming:
        return files
    names = [file.removeprefix(here) for file in files]
    root = hub_files(source.hub, source.revision, names, kind="dataset")
    return DataFilesList([str(root / name) for name in names], files.origin_metadata)


def _unbuffered() -> ParquetFragmentScanOptions:
    """Without it, and Arrow's tables instead of rows, what was read of a file stays in memory."""
    return ParquetFragmentScanOptions(pre_buffer=False)


@contextmanager
def _readable(name: str) -> Iterator[None]:
    """Turn what libraries make of a data set that they cannot read into a `DataError`."""
    try:
        yield
    except (RetortError, *UNREACHABLE):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        detail = shown(" ".join(f"{error}".split()) or type(error).__name__)
        raise DataError(f"{name}: cannot be read as a data set: {detail}") from error
