"""Parquet files, read row group by row group."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any

from retort.core.errors import DataError
from retort.data.config import FilesConfig
from retort.data.files.addresses import File
from retort.data.files.decoding import Decoder, Where, printable
from retort.data.sources.columns import Columns, check_columns, records_of
from retort.data.sources.records import BUFFER, WHOLE, Record, Span

_BATCH_ROWS = 256


def read_parquet(file: File, config: FilesConfig, decoder: Decoder, span: Span) -> Iterator[Record]:
    """Row groups of a Parquet file, one by one and in each a few rows at a time."""
    chosen = Columns(config.text, config.label)
    row = span.rows_before or 0
    with file.open(from_start=False) as stream, _whole_parquet(file, lambda: row):
        table = _parquet(stream)
        check_columns(table.schema_arrow, chosen, file.address)
        for group in range(span.start, span.end or table.num_row_groups):
            for batch in table.iter_batches(_BATCH_ROWS, row_groups=[group], columns=chosen.names):
                before = Where(file.address, file.name, row, None)
                row += batch.num_rows
                yield from records_of(batch, chosen, before, decoder)


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
