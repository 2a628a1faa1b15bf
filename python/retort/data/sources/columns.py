"""Columns of Arrow, of Parquet files and of data sets of the hub: each row is a text and its label."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from retort.core.errors import DataError
from retort.data.files.decoding import BadRow, Decoder, Where, printable
from retort.data.sources.records import Record, label_of, place_of


@dataclass(frozen=True)
class Columns:
    """Which columns hold text and label (None: documents have none).

    Attributes:
        classes: names that the numbers of the label's column stand for; None where they, or words,
            are the labels themselves.
    """

    text: str
    label: str | None
    classes: Sequence[str] | None = None

    @property
    def names(self) -> list[str]:
        """The columns, that of the text first."""
        return [self.text] if self.label is None else [self.text, self.label]


def check_columns(schema: Any, columns: Columns, address: str) -> None:
    """Refuse a schema of Arrow whose columns cannot be text and label.

    Raises:
        DataError: there is none of the name, or it is of another type.
    """
    for name in columns.names:
        place_of(schema.names, name, address)
    _check_type(schema.field(columns.text).type, columns.text, address)
    if columns.label is not None:
        _check_type(schema.field(columns.label).type, columns.label, address, label=True)


def records_of(batch: Any, columns: Columns, before: Where, decoder: Decoder) -> Iterator[Record]:
    """The rows of a batch of Arrow.

    Args:
        before: the place of the row before the first.
    """
    texts = _as_bytes(batch.column(columns.text))
    labels = [None] * len(texts) if columns.label is None else _labels(batch.column(columns.label))
    for row, (data, label) in enumerate(zip(texts, labels, strict=True), start=before.row + 1):
        where = replace(before, row=row)
        try:
            if data is None:
                raise BadRow(f"{where}: column {columns.text!r} is null", "text is null")
            named = _named(label, columns, where)
            text = decoder.decode(data, where)
        except BadRow as error:
            decoder.drop(error, where)
            continue
        if text is not None:
            yield Record(text, named, where)


def _named(label: Any, columns: Columns, where: Where) -> str | None:
    written = label_of({columns.label or "": label}, columns.label, where)
    if columns.classes is None or written is None:
        return written
    number = int(written) if isinstance(label, int) else -1
    if not 0 <= number < len(columns.classes):
        raise BadRow(
            f"{where}: the label is {written}, and the classes are numbered from 0 to "
            f"{len(columns.classes) - 1}; is this split labelled?",
            "label of no class",
        )
    return columns.classes[number]


def _check_type(kind: Any, name: str, address: str, *, label: bool = False) -> None:
    import pyarrow.types as kinds  # type: ignore[import-untyped]

    value = kind.value_type if kinds.is_dictionary(kind) else kind
    # Rows of the others are bad one by one; some values of a date are none of Python's at all.
    plain = (kinds.is_integer, kinds.is_floating, kinds.is_boolean, kinds.is_null)
    if not _is_text(value) and not (label and any(is_plain(value) for is_plain in plain)):
        wanted = "neither words nor whole numbers" if label else "not text"
        raise DataError(
            f"{address}: column {name!r} is of type {printable(str(kind))}, which is {wanted}"
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
