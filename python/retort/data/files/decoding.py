"""Bytes to text. What is not UTF-8 is read as the recipe says, counted, and the first are named."""

from collections import Counter
from dataclasses import dataclass, field, replace

from retort.core.errors import DataError
from retort.data.config import BadRows, NotUtf8
from retort.data.tokenizers.spellings import Spellings

NAMED = 100
NOT_UTF8 = "not UTF-8"
SPELLED = "special token"


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

    @property
    def place(self) -> "Place":
        """The same for reports."""
        return Place(self.name, self.row, self.offset)


@dataclass(frozen=True)
class Place:
    """Where a document stands, or the first byte of it that is not UTF-8; all as above."""

    file: str
    row: int
    offset: int | None


class BadRow(DataError):
    """A row that is no document; `data.bad_rows` says whether it may be dropped.

    Attributes:
        reason: what is wrong with it, in words that many rows share.
    """

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason


@dataclass
class Tally:
    """What was met while documents were read.

    Attributes:
        not_utf8: documents that are not UTF-8; dropped: those of them that were left out.
        blank: lines with nothing on them, in formats where such a line is no document.
        bad: rows that were dropped, by reason.
        spelled: how often a text spells a special token, by token; spelling: documents that do.
        left_out: files that are no documents, by reason.
        places: of the first hundred of each of these: what it is, and where.
    """

    not_utf8: int = 0
    dropped: int = 0
    blank: int = 0
    bad: Counter[str] = field(default_factory=Counter)
    spelled: Counter[str] = field(default_factory=Counter)
    spelling: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    places: list[tuple[str, Place]] = field(default_factory=list)

    def name(self, what: str, number: int, place: Place) -> None:
        """Remember the place of a document, the `number`-th of its kind, if it is an early one."""
        if number <= NAMED:
            self.places.append((what, place))


class Decoder:
    """Decodes documents and treats what is wrong with them as the recipe says; `tally` knows it."""

    def __init__(
        self,
        not_utf8: NotUtf8,
        bad_rows: BadRows = "refuse",
        bad_rows_limit: int = 0,
        spellings: Spellings | None = None,
    ) -> None:
        """
        Args:
            bad_rows_limit: the most rows that are dropped.
            spellings: finds special tokens in texts; without it, nobody looks for them.
        """
        self._policy = not_utf8
        self._bad_rows = bad_rows
        self._limit = bad_rows_limit
        self._spellings = spellings
        self.tally = Tally()

    def again(self) -> "Decoder":
        """One that does the same and has met nothing."""
        return Decoder(self._policy, self._bad_rows, self._limit, self._spellings)

    @property
    def refuses(self) -> bool:
        """Whether a bad row is an error at once."""
        return self._bad_rows == "refuse"

    def decode(self, data: bytes, where: Where) -> str | None:
        """The text of a document; None when it is to be dropped.

        Raises:
            BadRow: it is binary.
            DataError: it is not UTF-8 where the recipe refuses that.
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

    def drop(self, error: BadRow, where: Where) -> None:
        """Leave out a row that is bad.

        Raises:
            DataError: the recipe refuses it, or so many of them.
        """
        if self.refuses:
            raise error
        self.tally.bad[error.reason] += 1
        count = self.tally.bad.total()
        check_bad_rows(count, self._limit, str(error))
        self.tally.name(error.reason, count, where.place)

    def look(self, text: str, where: Where) -> None:
        """Count the special tokens that a text spells.

        Raises:
            DataError: there are some, and the recipe refuses them.
        """
        if self._spellings is None or not (found := self._spellings.find(text)):
            return
        if self._spellings.policy == "refuse":
            raise DataError(
                f"{where}: spells the special token {found[0]!r}; see tokenizer.special_in_text"
            )
        self.tally.spelled.update(found)
        self.tally.spelling += 1
        self.tally.name(SPELLED, self.tally.spelling, where.place)

    def _count(self, where: Where, offset: int | None, reason: str) -> None:
        if self._policy == "refuse":
            at = "" if offset is None else f" at offset {offset}"
            raise DataError(f"{where}: is not UTF-8{at}: {reason}; see data.not_utf8")
        self.tally.not_utf8 += 1
        self.tally.dropped += self._policy == "drop"
        self.tally.name(NOT_UTF8, self.tally.not_utf8, replace(where.place, offset=offset))


def check_bad_rows(count: int, limit: int, example: str) -> None:
    """Refuse more dropped rows than the recipe allows.

    Raises:
        DataError: there are; gives an example.
    """
    if count > limit:
        raise DataError(f"{example}; over {limit:,} such rows: see data.bad_rows_limit")


def refuse_binary(data: bytes, where: Where) -> None:
    """Refuse what holds a NUL byte: no text does, whatever its encoding, but for UTF-16 and 32.

    Raises:
        BadRow: names the file, the row, and the byte's offset.
    """
    index = data.find(b"\0")
    if index >= 0:
        at = "" if where.offset is None else f" at offset {where.offset + index}"
        message = f"{where}: is binary: it has a NUL byte{at}; give text in UTF-8"
        raise BadRow(message, "binary: a NUL byte")


def printable(text: str) -> str:
    """A text in one line and without what a terminal would act upon: the rest is escaped."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else _escape(one) for one in text)


def _escape(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # a byte of a file's name that is not UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")
