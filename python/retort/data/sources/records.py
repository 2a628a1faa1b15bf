"""Records: a text and its label as a file writes them, and what readers of all formats share."""

import reprlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import IO, Any

from retort.core.config import nearest
from retort.core.errors import DataError
from retort.data.config import FilesConfig
from retort.data.files.addresses import File
from retort.data.files.decoding import BadRow, Decoder, Where, printable

LARGEST = 16 << 20
"""Bytes of the longest document or row. What is longer is not text, or would not fit in memory."""
BUFFER = 1 << 20
_SHOWN = 40
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Record:
    """A text, its label as written (None where there is none), and where they stand."""

    text: str
    label: str | None
    where: Where


@dataclass(frozen=True)
class Span:
    """Rows of a file: all of them, or those that begin in a range.

    Attributes:
        start, end: bytes of a file of lines, row groups of a Parquet file; no end: that of the file.
        rows_before: number of rows before them; None where nobody has counted.
    """

    start: int = 0
    end: int | None = None
    rows_before: int | None = 0


WHOLE = Span()
Reader = Callable[[File, FilesConfig, Decoder, Span], Iterator[Record]]


def lines_of(stream: IO[bytes], file: File, span: Span) -> Iterator[tuple[Where, bytes]]:
    """The lines that begin in a span, with their ends and places. A byte order mark is left out."""
    offset, row = span.start, span.rows_before or 0
    if offset:
        stream.seek(offset - 1)
        offset -= 1
        before = b""
        while not before.endswith(b"\n") and (before := stream.readline(BUFFER)):
            offset += len(before)
            if span.end is not None and offset > span.end:
                return  # no line begins here, and this one may be as long as the file
    while span.end is None or offset < span.end:
        line = stream.readline(LARGEST + 1)
        if not line:
            return
        row += 1
        start, offset = offset, offset + len(line)
        if start == 0 and line.startswith(_BOM):
            line = line[len(_BOM) :]
            start = len(_BOM)
        where = Where(file.address, file.name, row, start)
        if len(line) > LARGEST:
            raise DataError(f"{where} is over {LARGEST >> 20} MiB long; is this a text file?")
        if line:
            yield where, line


def place_of(names: list[str], name: str, address: str) -> int:
    """The place of a column.

    Raises:
        DataError: there is none, and the nearest is named; or there are several.
    """
    if name not in names:
        raise DataError(f"{address}: has no column {name!r}{nearest(name, some(names))}")
    if names.count(name) > 1:
        raise DataError(f"{address}: has {names.count(name)} columns {name!r}; keep one")
    return names.index(name)


def label_of(values: dict[str, Any], key: str | None, where: Where) -> str | None:
    """The label as written; None where the recipe names none.

    Raises:
        BadRow: it is empty, not UTF-8, or neither a word nor a whole number.
    """
    if key is None:
        return None
    value = values[key]
    try:
        if isinstance(value, bytes):
            value = value.decode("utf-8")
        elif isinstance(value, str):
            value.encode("utf-8")
    except UnicodeError as error:
        raise BadRow(
            f"{where}: the label is not UTF-8: {shown(value)}", "label not UTF-8"
        ) from error
    if isinstance(value, bool) or not isinstance(value, int | str) or value == "":
        message = f"{where}: the label is {shown(value)}; a word or a whole number is needed"
        raise BadRow(message, "label not a word")
    return str(value)


def some(names: Iterable[str]) -> list[str]:
    """Names that a file gives, for an error: however many and long they are, a few words."""
    return [printable(name[:_SHOWN]) for name in islice(names, _SHOWN)]


def shown(value: object) -> str:
    """A value of a row for an error: however large it is, a few words."""
    return reprlib.repr(value)
