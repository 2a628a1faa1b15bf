"""Documents of a source: a wheel, the hub, or files of the user's, near or far."""

from collections.abc import Iterator
from dataclasses import replace

from retort.core.config import nearest
from retort.core.errors import DataError
from retort.data.config import FilesConfig, SourceConfig
from retort.data.files.decoding import BadRow, Decoder, Where
from retort.data.sources.documents import Document, Part, check_label
from retort.data.sources.formats import READERS
from retort.data.sources.pieces import Piece, cut
from retort.data.sources.records import Record, label_of, shown
from retort.data.sources.reviews import read_reviews
from retort.data.sources.text_files import read_whole, rows_before
from retort.data.tokenizers.spellings import Spellings

_NOT_ALLOWED = "label not allowed"
_SHOWN = 100


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
    decoder = decoder or decoder_of(config)
    empty = True
    for piece in cut(config):
        for document in documents_of(config, piece, decoder):
            empty = False
            yield document
    if empty and not decoder.tally.dropped and not decoder.tally.bad:
        raise no_documents(config)


def decoder_of(config: SourceConfig, spellings: Spellings | None = None) -> Decoder:
    """One that treats what is wrong with documents as the recipe says."""
    return Decoder(config.not_utf8, config.bad_rows, config.bad_rows_limit, spellings)


def documents_of(config: SourceConfig, piece: Piece, decoder: Decoder) -> Iterator[Document]:
    """The documents of one piece of a source, in its order; raises as `stream_documents`."""
    try:
        for part, record in _placed(config, piece, decoder):
            try:
                label = _label(record.label, record.where, config)
            except BadRow as error:
                decoder.drop(error, record.where)
                continue
            decoder.look(record.text, record.where)
            yield Document(record.text, label, part)
    except DataError:
        if piece.span.rows_before is not None:
            raise
        # The row's number is not known yet: it takes reading all that comes before the piece.
        (before,) = rows_before(piece.files[0], [piece.span.start])
        again = replace(piece, span=replace(piece.span, rows_before=before))
        for _ in documents_of(config, again, decoder.again()):
            pass
        raise


def no_documents(config: SourceConfig) -> DataError:
    """What is wrong with a source that has none."""
    path = config.files.paths[0] if config.files else config.name
    return DataError(f"{path}: holds no documents")


def _placed(
    config: SourceConfig, piece: Piece, decoder: Decoder
) -> Iterator[tuple[Part | None, Record]]:
    """The records of a piece, each with the part that the source itself has put it in."""
    if config.on_hub:
        from retort.data.sources import hub_datasets  # imports datasets, which takes seconds

        yield from hub_datasets.read_hub(config.source, decoder)
    else:
        yield from ((piece.part, record) for record in _records(config, piece, decoder))


def _records(config: SourceConfig, piece: Piece, decoder: Decoder) -> Iterator[Record]:
    if config.source == "reviews":
        yield from read_reviews(piece.files[0], decoder)
        return
    if config.source in READERS:
        settings = config.files or FilesConfig(paths=("",))
        for part in piece.files[0].parts(decoder.tally.left_out):
            yield from READERS[config.source](part, settings, decoder, piece.span)
        return
    for file in piece.files:
        for record in read_whole(file, decoder):
            try:
                label = label_of({"": file.directory}, "", record.where)
            except BadRow as error:
                decoder.drop(error, record.where)
                continue
            yield replace(record, label=label)


def _label(label: str | None, where: Where, config: SourceConfig) -> str | None:
    """The label's name, if it is one that is allowed.

    Raises:
        BadRow: it is not.
    """
    names = config.files.label_names if config.files else {}
    if names and label is not None:
        if label not in names:
            raise BadRow(
                f"{where}: has the label {shown(label)}, which data.files.label_names does not name"
                f"{nearest(label[:_SHOWN], sorted(names))}",
                _NOT_ALLOWED,
            )
        label = names[label]
    if config.labels is not None:
        try:
            check_label(label, str(where), config.labels)
        except DataError as error:
            raise BadRow(str(error), _NOT_ALLOWED) from None
    return label
