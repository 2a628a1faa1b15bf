"""One file of any format as a stream of records: a text and its label as the file writes them."""

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import IO, Any

from retort.core.config import nearest
from retort.core.errors import DataError
from retort.data.addresses import File
from retort.data.config import FilesConfig
from retort.data.encoding import Decoder, Where, refuse_binary

LARGEST = 16 << 20
"""Bytes of the longest document or row. What is longer is not text, or would not fit in memory."""
_BATCH_ROWS = 256
_BUFFER = 1 << 20
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Record:
    """A text, its label as written (None where there is none), and where they stand."""

    text: str
    label: str | None
    where: Where


Reader = Callable[[File, FilesConfig, Decoder], Iterator[Record]]


def read_whole(file: File, decoder: Decoder) -> Iterator[Record]:
    """A file that is one document. Line ends stay: a document is what its bytes say."""
    where = Where(file.address, file.name)
    with file.open() as stream:
        content = stream.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise DataError(f"{where}: is one document of over {LARGEST >> 20} MiB; divide it")
    text = decoder.decode(content, where)
    if text is not None:
        yield Record(text, None, where)


def read_text(file: File, config: FilesConfig, decoder: Decoder) -> Iterator[Record]:
    """Plain text: a document a file, or a line (without its end)."""
    if config.document == "file":
        yield from read_whole(file, decoder)
        return
    with file.open() as stream:
        for where, line in _lines(stream, file):
            text = decoder.decode(line.rstrip(b"\r\n"), where)
            if text is not None:
                yield Record(text, None, where)


def read_jsonl(file: File, config: FilesConfig, decoder: Decoder) -> Iterator[Record]:
    """One JSON object a line."""
    keys = [config.text] if config.label is None else [config.text, config.label]
    with file.open() as stream:
        for where, line in _lines(stream, file):
            decoded = decoder.decode(line, where)
            if decoded is None:
                continue
            try:
                value = json.loads(decoded)
            except (ValueError, RecursionError) as error:
                raise DataError(f"{where} is not JSON: {error}") from error
            if not isinstance(value, dict):
                raise DataError(f"{where} is not a JSON object")
            for key in keys:
                if key not in value:
                    raise DataError(f"{where} has no key {key!r}{nearest(key, sorted(value))}")
            text = _text(value[config.text], config.text, where)
            kept = decoder.without_surrogates(text, where)
            if kept is not None:
                yield Record(kept, _label(value, config.label, where), where)


def read_csv(file: File, config: FilesConfig, decoder: Decoder) -> Iterator[Record]:
    """Comma-separated values with a header (RFC 4180): a quoted field may hold line ends."""
    csv.field_size_limit(LARGEST)  # the module's own is 128 KiB, for the whole process
    with file.open() as stream:
        rows = _csv_rows(stream, file)
        header = next(rows, None)
        if header is None:
            raise DataError(f"{file.address}: is empty; a CSV file begins with a header")
        names = header.fields
        if any(map(_escaped, "".join(names))):
            raise DataError(f"{file.address}: is not CSV: its header is not UTF-8")
        text_at = _column(names, config.text, file)
        label_at = None if config.label is None else _column(names, config.label, file)
        for row in rows:
            if len(row.fields) != len(names):
                raise DataError(
                    f"{row.where}, at offset {row.where.offset}, has {len(row.fields)} "
                    f"{'field' if len(row.fields) == 1 else 'fields'}; the header has {len(names)}"
                )
            text = _csv_text(row, text_at, decoder)
            label = None if label_at is None else _csv_label(row, label_at)
            if text is not None:
                yield Record(text, label, row.where)


@dataclass(frozen=True)
class _Row:
    """A row of CSV. In `fields`, bytes that are not UTF-8 are escaped by surrogates."""

    fields: Sequence[str]
    raw: bytes
    where: Where


def _csv_rows(stream: IO[bytes], file: File) -> Iterator[_Row]:
    """Rows, the header first, which is row 0. A blank line is no row."""
    raw = bytearray()
    start = 0

    def lines() -> Iterator[str]:
        nonlocal start
        for where, line in _lines(stream, file):
            refuse_binary(line, replace(where, row=0))
            if not raw:
                start = where.offset or 0
            raw.extend(line)
            if len(raw) > LARGEST:
                raise DataError(
                    f"{file.address}: the row at offset {start} is over {LARGEST >> 20} MiB long; "
                    "does a quote not end?"
                )
            yield line.decode("utf-8", "surrogateescape")

    number = 0
    rows = csv.reader(lines(), strict=True)
    while True:
        try:
            fields = next(rows, None)
        except csv.Error as error:
            where = Where(file.address, file.name, number, start)
            raise DataError(f"{where}, at offset {start}, is not CSV: {error}") from error
        if fields is None:
            return
        if fields:
            yield _Row(fields, bytes(raw), Where(file.address, file.name, number, start))
            number += 1
        raw.clear()


def _csv_text(row: _Row, column: int, decoder: Decoder) -> str | None:
    text = row.fields[column]
    try:
        text.encode("utf-8")
        return text
    except UnicodeEncodeError as error:
        data = text.encode("utf-8", "surrogateescape")
        index = len(text[: error.start].encode("utf-8"))
    # Quotes are gone from the field, so its offset is found by counting the bytes that are wrong.
    before = sum(map(_escaped, "".join(row.fields[:column])))
    raw = row.raw.decode("utf-8", "surrogateescape")
    start = [place for place, one in enumerate(raw) if _escaped(one)][before]
    offset = len(raw[:start].encode("utf-8", "surrogateescape"))
    assert row.where.offset is not None
    return decoder.decode(data, replace(row.where, offset=row.where.offset + offset - index))


def _csv_label(row: _Row, column: int) -> str:
    label = row.fields[column]
    if any(map(_escaped, label)):
        raise DataError(f"{row.where}: the label is not UTF-8")
    return str(_label({"": label}, "", row.where))


def _escaped(character: str) -> bool:
    return "\udc80" <= character <= "\udcff"


def read_parquet(file: File, config: FilesConfig, decoder: Decoder) -> Iterator[Record]:
    """A Parquet file, row group by row group and in each a few rows at a time."""
    import pyarrow  # type: ignore[import-untyped]
    from pyarrow import parquet

    columns = [config.text] if config.label is None else [config.text, config.label]
    row = 0
    with file.open() as stream:
        try:
            table = parquet.ParquetFile(stream, pre_buffer=False, buffer_size=_BUFFER)
            for name in columns:
                _column(table.schema_arrow.names, name, file)
            _check_type(table.schema_arrow.field(config.text).type, config.text, file)
            for group in range(table.num_row_groups):
                for batch in table.iter_batches(_BATCH_ROWS, row_groups=[group], columns=columns):
                    texts = _as_bytes(batch.column(config.text))
                    labels = (
                        [None] * len(texts)
                        if config.label is None
                        else batch.column(config.label).to_pylist()
                    )
                    for data, label in zip(texts, labels, strict=True):
                        row += 1
                        where = Where(file.address, file.name, row, None)
                        if data is None:
                            raise DataError(f"{where}: column {config.text!r} is null")
                        text = decoder.decode(data, where)
                        if text is not None:
                            value = {config.label: label} if config.label is not None else {}
                            yield Record(text, _label(value, config.label, where), where)
        except (pyarrow.ArrowException, OSError) as error:
            at = f"after row {row} " if row else ""
            reason = " ".join(str(error).split())
            raise DataError(f"{file.address}: {at}is not a whole Parquet file: {reason}") from error


READERS: dict[str, Reader] = {
    "text": read_text,
    "jsonl": read_jsonl,
    "csv": read_csv,
    "parquet": read_parquet,
}


def _lines(stream: IO[bytes], file: File) -> Iterator[tuple[Where, bytes]]:
    """The lines of a file with their ends, each with its place. A byte order mark is left out."""
    offset = row = 0
    while line := stream.readline(LARGEST + 1):
        row += 1
        start, offset = offset, offset + len(line)
        if row == 1 and line.startswith(_BOM):
            line = line[len(_BOM) :]
            start = len(_BOM)
        where = Where(file.address, file.name, row, start)
        if len(line) > LARGEST:
            raise DataError(f"{where} is over {LARGEST >> 20} MiB long; is this a text file?")
        if line:
            yield where, line


def _column(names: Sequence[str], name: str, file: File) -> int:
    if name not in names:
        raise DataError(f"{file.address}: has no column {name!r}{nearest(name, names)}")
    return list(names).index(name)


def _check_type(kind: Any, name: str, file: File) -> None:
    import pyarrow.types as kinds  # type: ignore[import-untyped]

    value = kind.value_type if kinds.is_dictionary(kind) else kind
    texts = (
        kinds.is_string,
        kinds.is_large_string,
        kinds.is_string_view,
        kinds.is_binary,
        kinds.is_large_binary,
        kinds.is_binary_view,
    )
    if not any(is_text(value) for is_text in texts):
        raise DataError(f"{file.address}: column {name!r} is of type {kind}, which is not text")


def _as_bytes(column: Any) -> list[bytes | None]:
    """The values of a text column without decoding them, which would raise for a whole batch."""
    import pyarrow
    import pyarrow.types as kinds

    if kinds.is_dictionary(column.type):
        column = column.dictionary_decode()
    values: list[bytes | None] = column.cast(pyarrow.large_binary()).to_pylist()
    return values


def _text(value: object, key: str, where: Where) -> str:
    if not isinstance(value, str):
        raise DataError(f"{where}: {key!r} is not text but {json.dumps(value)[:40]}")
    return value


def _label(values: dict[str, Any], key: str | None, where: Where) -> str | None:
    if key is None:
        return None
    value = values[key]
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, bool) or not isinstance(value, int | str) or value == "":
        raise DataError(f"{where}: the label is {value!r}; a word or a whole number is needed")
    return str(value)
