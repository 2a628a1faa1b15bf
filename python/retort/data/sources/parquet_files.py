"""Parquet files, read row group by row group."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any

from retort.core.errors import DataError
from retort.data.config import FilesConfig
from retort.data.files.addresses import File
from retort.data.files.decoding import BadRow, Decoder, Where, printable
from retort.data.sources.records import BUFFER, WHOLE, Record, Span, label_of, place_of

_BATCH_ROWS = 256


def read_parquet(file: File, config: FilesConfig, decoder: Decoder, span: Span) -> Iterator[Record]:
    """Row groups of a Parquet file, one by one and in each a few rows at a time."""

    columns = [config.text] if config.label is None else [config.text, config.label]
    row = span.rows_before or 0
    with file.open(from_start=False) as stream, _whole_parquet(file, lambda: row):
        table = _parquet(stream)
        for name in columns:
            place_of(table.schema_arrow.names, name, file)
        _check_type(table.schema_arrow.field(config.text).type, config.text, file)
        if config.label is not None:
            _check_type(table.schema_arrow.field(config.label).type, config.label, file, label=True)
        for group in range(span.start, span.end or table.num_row_groups):
            for batch in table.iter_batches(_BATCH_ROWS, row_groups=[group], columns=columns):
                texts = _as_bytes(batch.column(config.text))
                labels = (
                    [None] * len(texts)
                    if config.label is None
                    else _labels(batch.column(config.label))
                )
                for data, label in zip(texts, labels, strict=True):
                    row += 1
                    where = Where(file.address, file.name, row, None)
                    try:
                        if data is None:
                            raise BadRow(f"{where}: column {config.text!r} is null", "text is null")
                        value = {config.label: label} if config.label is not None else {}
                        named = label_of(value, config.label, where)
                        text = decoder.decode(data, where)
                    except BadRow as error:
                        decoder.drop(error, where)
                        continue
                    if text is not None:
                        yield Record(text, named, where)


def row_groups(file: File, size: int) -> Iterator[tuple[Span, int]]:
    """Row groups of a Parquet file in spans of about `size` bytes."""
    with file.open() as stream, _whole_parquet(file, lambda: 0):
        metadata = _parquet(stream).metadata
        groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
        if not groups:
            yield WHOLE, 0  # a piece, so that a missing column is noticed
        start = rows = weight = span_rows = 0
        for number, group in enumerate(groups, start=1):
            weight += group.total_byte_size
            span_rows += group.num_rows
            if weight >= size or number == len(groups):
                yield Span(start, number, rows), weight
                start, rows, weight, span_rows = number, rows + span_rows, 0, 0


def _parquet(stream: IO[bytes]) -> Any:
    from pyarrow import parquet  # type: ignore[import-untyped]  # large, and few sources need it

    return parquet.ParquetFile(stream, pre_buffer=False, buffer_size=BUFFER)


@contextmanager
def _whole_parquet(file: File, row: Callable[[], int]) -> Iterator[None]:
    """Turn what pyarrow says of a damaged file into a `DataError` with the last row that is right."""
    import pyarrow

    try:
        yield
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        at = f"after row {row()} " if row() else ""
        reason = printable(" ".join(str(error).split()))
        raise DataError(f"{file.address}: {at}is not a whole Parquet file: {reason}") from error


def _check_type(kind: Any, name: str, file: File, *, label: bool = False) -> None:
    import pyarrow.types as kinds  # type: ignore[import-untyped]

    value = kind.value_type if kinds.is_dictionary(kind) else kind
    # Rows of the others are bad one by one; some values of a date are none of Python's at all.
    plain = (kinds.is_integer, kinds.is_floating, kinds.is_boolean, kinds.is_null)
    if not _is_text(value) and not (label and any(is_plain(value) for is_plain in plain)):
        wanted = "neither words nor whole numbers" if label else "not text"
        raise DataError(
            f"{file.address}: column {name!r} is of type {printable(str(kind))}, which is {wanted}"
        )


def _is_text(kind: Any) -> bool:
    import pyarrow.types as kinds

    texts = (
        kinds.is_string,
        kinds.is_large_string,
        kinds.is_string_view,
        kinds.is_binary,
        kinds.is_large_binary,
        kinds.is_binary_view,
    )
    return any(is_text(kind) for is_text in texts)


def _labels(column: Any) -> list[Any]:
    """Words as bytes, which may be no UTF-8, and whole numbers."""
    import pyarrow.types as kinds

    kind = column.type.value_type if kinds.is_dictionary(column.type) else column.type
    return _as_bytes(column) if _is_text(kind) else column.to_pylist()


def _as_bytes(column: Any) -> list[bytes | None]:
    """The values of a text column without decoding them, which would raise for a whole batch."""
    import pyarrow
    import pyarrow.types as kinds

    if kinds.is_dictionary(column.type):
        column = column.dictionary_decode()
    values: list[bytes | None] = column.cast(pyarrow.large_binary()).to_pylist()
    return values
