"""Bytes to text. What is not UTF-8 is read as the recipe says, counted, and the first are named."""

from dataclasses import dataclass

from retort.core.errors import DataError
from retort.data.config import NotUtf8

NAMED = 100


@dataclass(frozen=True)
class Where:
    """The place of a document.

    Attributes:
        address, name: of its file, for errors and for reports (which are sealed).
        row: from 1, the header of a table not counted; 0 where the file is the document.
        offset: of its first byte in the file (what it holds, if it is compressed); None in Parquet.
    """

    address: str
    name: str
    row: int = 0
    offset: int | None = 0

    def __str__(self) -> str:
        return f"{self.address}: row {self.row}" if self.row else self.address


@dataclass(frozen=True)
class Place:
    """Where the first byte of a document that is not UTF-8 stands; `row` and `offset` as above."""

    file: str
    row: int
    offset: int | None


class Decoder:
    """Decodes documents, and knows which of them were not UTF-8.

    Attributes:
        not_utf8: how many there were.
        dropped: how many of these were left out.
        places: of the first hundred.
    """

    def __init__(self, policy: NotUtf8) -> None:
        self._policy = policy
        self.not_utf8 = 0
        self.dropped = 0
        self.places: list[Place] = []

    def decode(self, data: bytes, where: Where) -> str | None:
        """The text of a document; None when it is to be dropped.

        Raises:
            DataError: it is binary, or not UTF-8 where the recipe refuses that.
        """
        refuse_binary(data, where)
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as error:
            offset = None if where.offset is None else where.offset + error.start
            self._count(where, offset, f"byte 0x{data[error.start]:02x}: {error.reason}")
        if self._policy == "drop":
            return None
        if self._policy == "replace":
            return data.decode("utf-8", "replace")
        return data.decode("latin-1")

    def without_surrogates(self, text: str, where: Where) -> str | None:
        """A text that JSON has escaped: half of a surrogate pair is no character, so no UTF-8."""
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            self._count(where, where.offset, f"half a surrogate pair: {error.reason}")
            if self._policy == "drop":
                return None
            return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return text

    def _count(self, where: Where, offset: int | None, reason: str) -> None:
        if self._policy == "refuse":
            at = "" if offset is None else f" at offset {offset}"
            raise DataError(f"{where}: is not UTF-8{at}: {reason}; see data.not_utf8")
        self.not_utf8 += 1
        self.dropped += self._policy == "drop"
        if len(self.places) < NAMED:
            self.places.append(Place(where.name, where.row, offset))


def refuse_binary(data: bytes, where: Where) -> None:
    """Refuse what holds a NUL byte: no text does, whatever its encoding, but for UTF-16 and 32.

    Raises:
        DataError: names the file, the row, and the byte's offset.
    """
    index = data.find(b"\0")
    if index >= 0:
        at = "" if where.offset is None else f" at offset {where.offset + index}"
        raise DataError(f"{where}: is binary: it has a NUL byte{at}; give text in UTF-8")
