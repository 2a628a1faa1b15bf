"""Documents of a source: a wheel, the hub, or files of the user's, near or far."""

from collections.abc import Iterator
from dataclasses import replace

from retort.core.config import nearest
from retort.core.errors import DataError
from retort.data.config import FilesConfig, SourceConfig
from retort.data.documents import Document, check_label
from retort.data.encoding import Decoder, Where
from retort.data.formats import READERS
from retort.data.pieces import Piece, cut
from retort.data.records import Record
from retort.data.reviews import read_reviews
from retort.data.text_files import read_whole, rows_before


def stream_documents(config: SourceConfig, decoder: Decoder | None = None) -> Iterator[Document]:
    """The documents of the configured source, one after the other, in its order.

    Memory holds a few rows of one file at a time.

    Args:
        decoder: counts what is not UTF-8; afterwards it knows.
    Raises:
        DataError: the source is missing, empty or unreadable, or a label is not in data.labels;
            the file and the row or offset are named.
        HubUnavailable: the source is on the hub, which cannot be reached.
    """
    decoder = decoder or Decoder(config.not_utf8)
    empty = True
    for piece in cut(config):
        for document in documents_of(config, piece, decoder):
            empty = False
            yield document
    if empty and not decoder.dropped:
        raise no_documents(config)


def documents_of(config: SourceConfig, piece: Piece, decoder: Decoder) -> Iterator[Document]:
    """The documents of one piece of a source, in its order; raises as `stream_documents`."""
    if not piece.files:
        yield from _from_hub(config)
        return
    records = _records(config, piece, decoder)
    while True:
        try:
            record = next(records, None)
            if record is None:
                return
            label = _label(record.label, record.where, config)
        except DataError:
            if piece.span.rows_before is not None:
                raise
            # The row's number is not known yet: it takes reading all that comes before the piece.
            (before,) = rows_before(piece.files[0], [piece.span.start])
            span = replace(piece.span, rows_before=before)
            again = replace(piece, span=span)
            for _ in documents_of(config, again, Decoder(config.not_utf8)):
                pass
            raise
        yield Document(record.text, label, piece.part)


def no_documents(config: SourceConfig) -> DataError:
    """What is wrong with a source that has none."""
    path = config.files.paths[0] if config.files else config.source
    return DataError(f"{path}: holds no documents")


def _records(config: SourceConfig, piece: Piece, decoder: Decoder) -> Iterator[Record]:
    if config.source == "reviews":
        yield from read_reviews(piece.files[0], decoder)
        return
    if config.source in READERS:
        settings = config.files or FilesConfig(paths=("",))
        yield from READERS[config.source](piece.files[0], settings, decoder, piece.span)
        return
    for file in piece.files:
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


def _from_hub(config: SourceConfig) -> Iterator[Document]:
    from retort.data import hub_datasets  # takes seconds to import, and most runs do not need it

    for document in hub_datasets.stream(config.source):
        if config.labels is not None:
            check_label(document.label, config.source, config.labels)
        yield document
