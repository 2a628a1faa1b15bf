"""Comma-separated values with a header (RFC 4180), or separated by another character."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import IO

from retort.core.errors import DataError
from retort.data.config import FilesConfig
from retort.data.files.addresses import File
from retort.data.files.decoding import BadRow, Decoder, Where, printable, refuse_binary
from retort.data.sources.records import LARGEST, WHOLE, Record, Span, label_of, lines_of, place_of


def read_csv(file: File, config: FilesConfig, decoder: Decoder, _span: Span) -> Iterator[Record]:
    """Comma-separated values with a header (RFC 4180): a quoted field may hold line ends."""
    csv.field_size_limit(LARGEST)  # the module's own is 128 KiB, for the whole process
    with file.open() as stream:
        rows = _csv_rows(stream, file, config.delimiter, decoder)
        header = next(rows, None)
        if header is None:
            raise DataError(f"{file.address}: is empty; a CSV file begins with a header")
        names = header.fields
        if any(map(_escaped, "".join(names))):
            raise DataError(f"{file.address}: is not CSV: its header is not UTF-8")
        text_at = place_of(names, config.text, file.address)
        label_at = None if config.label is None else place_of(names, config.label, file.address)
        for row in rows:
            try:
                if len(row.fields) != len(names):
                    raise BadRow(
                        f"{row.where}, at offset {row.where.offset}, has {len(row.fields)} "
                        f"{'field' if len(row.fields) == 1 else 'fields'}; "
                        f"the header has {len(names)}",
                        "other number of fields than the header",
                    )
                refuse_binary(row.raw, replace(row.where, row=0))
                label = None if label_at is None else _csv_label(row, label_at)
                text = _csv_text(row, text_at, decoder)
            except BadRow as error:
                decoder.drop(error, row.where)
                continue
            if text is not None:
                yield Record(text, label, row.where)


@dataclass(frozen=True)
class _Row:
    """A row of CSV. In `fields`, bytes that are not UTF-8 are escaped by surrogates."""

    fields: list[str]
    raw: bytes
    where: Where


def _csv_rows(stream: IO[bytes], file: File, delimiter: str, decoder: Decoder) -> Iterator[_Row]:
    """Rows, the header first, which is row 0. A blank line is no row, nor is one of white space where
    a row has several fields."""
    width = 1
    raw = bytearray()
    start = 0

    def lines() -> Iterator[str]:
        nonlocal start
        for where, line in lines_of(stream, file, WHOLE):
            if decoder.refuses or number == 0:
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
    rows = csv.reader(lines(), strict=True, delimiter=delimiter)
    while True:
        try:
            fields = next(rows, None)
        except csv.Error as error:
            where = Where(file.address, file.name, number, start)
            bad = BadRow(
                f"{where}, at offset {start}, is not CSV: {printable(str(error))}", "not CSV"
            )
            if number == 0:
                raise bad from error
            decoder.drop(bad, where)
            number += 1
            raw.clear()
            continue
        if fields is None:
            return
        if not fields or (len(fields) < width and not raw.strip()):
            decoder.tally.blank += 1
        else:
            width = width if number else len(fields)
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
        raise BadRow(f"{row.where}: the label is not UTF-8", "label not UTF-8")
    return str(label_of({"": label}, "", row.where))


def _escaped(character: str) -> bool:
    return "\udc80" <= character <= "\udcff"
