"""Compressed files and archives: those that are read, and all others told by their first bytes.

A file is decompressed when its name says how, and its first bytes must agree. Whatever they tell of
a file whose name does not say it is refused by name: taken for text, it would be read as Latin-1.
"""

import bz2
import codecs
import gzip
import io
import lzma
import zlib
from collections import Counter
from collections.abc import Callable
from typing import IO, Any
from zipfile import ZIP_BZIP2, ZIP_DEFLATED, ZIP_LZMA, ZIP_STORED, ZipFile, ZipInfo

from retort.core.errors import DataError
from retort.data.files.decoding import printable

HEAD = 512
"""Bytes that `refuse_packed` looks at."""
_EXPANSION = 200
_SLACK = 16 << 20
TOO_MUCH = f"holds over {_EXPANSION} times its size, as text hardly does; unpack it if you trust it"
ZIP = "zip"
_ENDINGS = {
    "gz": "gzip",
    "bz2": "bzip2",
    "xz": "xz",
    "lzma": "lzma",
    "zst": "zstd",
    "zstd": "zstd",
    "zip": ZIP,
}
_MAGIC: tuple[tuple[str, int, bytes], ...] = (
    ("gzip", 0, b"\x1f\x8b"),
    ("bzip2", 0, b"BZh"),
    ("xz", 0, b"\xfd7zXZ\0"),
    ("zstd", 0, b"\x28\xb5\x2f\xfd"),
    (ZIP, 0, b"PK\3\4"),
    (ZIP, 0, b"PK\5\6"),
    (ZIP, 0, b"PK\7\x08"),
    ("lz4", 0, b"\x04\x22\x4d\x18"),
    ("lz4", 0, b"\x02\x21\x4c\x18"),
    ("snappy", 0, b"\xff\x06\0\0sNaPpY"),
    ("7z", 0, b"7z\xbc\xaf\x27\x1c"),
    ("rar", 0, b"Rar!\x1a\x07"),
    ("compress (.Z)", 0, b"\x1f\x9d"),
    ("compress (.Z)", 0, b"\x1f\xa0"),
    ("pack (.z)", 0, b"\x1f\x1e"),
    ("lzip", 0, b"LZIP\1"),
    ("lzop", 0, b"\x89LZO\0"),
    ("lrzip", 0, b"LRZI"),
    ("rzip", 0, b"RZIP"),
    ("bzip3", 0, b"BZ3v1"),
    ("lha", 2, b"-lh"),
    ("arj", 0, b"\x60\xea"),
    ("xar", 0, b"xar!\0"),
    ("cab", 0, b"MSCF\0\0\0\0"),
    ("ar", 0, b"!<arch>\n"),
    ("cpio", 0, b"070701"),
    ("cpio", 0, b"070702"),
    ("tar", 257, b"ustar"),
)
_SKIPPED = range(0x184D2A50, 0x184D2A60)
"""What frames that zstd and lz4 both skip begin with."""
_ENCRYPTED = 1
_SPLIT_MARK = 4
"""Bytes before the first member of an archive that might have been split."""
_BLOCK = 1 << 16
_ZIP_METHODS = (ZIP_STORED, ZIP_DEFLATED, ZIP_BZIP2, ZIP_LZMA)
_BZIP2_BLOCKS = (b"1AY&SY", b"\x17\x72\x45\x38\x50\x90")
_WITHOUT_MAGIC = {"br": "brotli", "sz": "snappy", "snappy": "snappy"}


def compression_by_name(path: str) -> str | None:
    """How a file that is read is compressed by the end of its name, such as `gzip` for `.gz`."""
    return _ENDINGS.get(_ending(path))


def check_packed(address: str, path: str, head: bytes) -> None:
    """Refuse a compressed file that is not what its name says.

    Raises:
        DataError: it says what it is instead.
    """
    named = compression_by_name(path)
    found = _by_content(head)
    if named in (found, "lzma") or (named == "zstd" and found == "zstd or lz4"):
        return
    what = "is empty" if not head else f"is {found}" if found else "has other first bytes"
    raise DataError(f"{address}: cannot be read: {what}, and not {named} as its name says")


def refuse_packed(address: str, path: str, head: bytes, *, inside: str | None = None) -> None:
    """Refuse what is to be read as it is, and is compressed or an archive.

    Args:
        head: its first bytes, `HEAD` of them if it has as many.
        inside: what it was unpacked from.
    Raises:
        DataError: names what it is.
    """
    found = _by_content(head)
    if found is None and not _is_text(head):
        found = "zlib" if _is_zlib(head) else None if inside else _WITHOUT_MAGIC.get(_ending(path))
    if found is None:
        return
    if inside:
        raise DataError(f"{address}: holds {found} inside {inside}, which is not read; unpack it")
    ending = next((end for end, kind in _ENDINGS.items() if kind == found), None)
    if ending is None:
        endings = ", ".join(f".{one}" for one in _ENDINGS)
        raise DataError(f"{address}: is {found}, which is not read; give it as it is, or {endings}")
    raise DataError(
        f"{address}: is {found}, and its name does not say so; let it end in .{ending}, or unpack it"
    )


def bound(size: int | None) -> int | None:
    """The most bytes that are taken out of so many compressed ones; None if those are not known."""
    return None if size is None else _SLACK + _EXPANSION * size


def members(
    archive: ZipFile, address: str, size: int | None, left_out: Counter[str]
) -> list[ZipInfo]:
    """The files of a zip archive, in the order of their names.

    Args:
        size: of the archive in bytes, if it is known.
        left_out: counts what macOS puts beside files.
    Raises:
        DataError: two members have one name, one is encrypted or compressed in a way that is not
            read, they hold more than an archive of this size can, or there are others before them.
    """
    found: dict[str, ZipInfo] = {}
    before = min((one.header_offset for one in archive.infolist()), default=archive.start_dir)
    if before > _SPLIT_MARK:
        raise DataError(
            f"{address}: its list of members leaves out what the first {before:,} bytes hold, as in "
            "archives one behind the other; unpack it"
        )
    for one in archive.infolist():
        where = f"{address}/{printable(one.filename)}"
        if one.is_dir():
            continue
        if one.filename.startswith("__MACOSX/"):
            left_out["of macOS, in an archive"] += 1
            continue
        if one.filename in found:
            raise DataError(f"{where}: is twice in the archive; unpack it and choose one")
        if one.flag_bits & _ENCRYPTED:
            raise DataError(f"{where}: is encrypted; unpack the archive with its password")
        if one.compress_type not in _ZIP_METHODS:
            raise DataError(f"{where}: is compressed by method {one.compress_type}; unpack it")
        found[one.filename] = one
    if size is not None:
        if sum(one.file_size for one in found.values()) > _SLACK + _EXPANSION * size:
            raise DataError(f"{address}: {TOO_MUCH}")
        if sum(one.compress_size for one in found.values()) > size:
            raise DataError(f"{address}: its members overlap, as in an archive made to harm")
    return sorted(found.values(), key=lambda one: one.filename.split("/"))


def decompress(stream: IO[bytes], kind: str) -> Any:
    """What a compressed stream holds, as a file to read; anything that is wrong with it raises what
    the library for it chooses.

    Args:
        kind: as of `compression_by_name`, but for a zip archive.
    """
    return _OPEN[kind](stream)


class _Streams(io.RawIOBase):
    """Compressed streams one behind the other. The library's own files take a damaged one, and all
    that comes behind it, for the end."""

    def __init__(self, file: IO[bytes], new: Callable[[], Any]) -> None:
        super().__init__()
        self._file = file
        self._new = new
        self._one = new()
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._file.seekable()

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_END:
            while self.read(_BLOCK):
                pass
        target = offset if whence == io.SEEK_SET else self._at + offset
        if target < self._at:
            self._file.seek(0)
            self._one, self._at = self._new(), 0
        while self._at < target and self.read(min(_BLOCK, target - self._at)):
            pass
        return self._at

    def readinto(self, buffer: Any) -> int:
        data = b""
        while not data:
            block = b""
            if self._one.eof:
                block = self._one.unused_data.lstrip(b"\0")  # zeros may fill up a stream
                while not block and (more := self._file.read(_BLOCK)):
                    block = more.lstrip(b"\0")
                if not block:
                    return 0
                self._one = self._new()
            elif self._one.needs_input and not (block := self._file.read(_BLOCK)):
                raise EOFError("the file ends before what is compressed does")
            data = self._one.decompress(block, len(buffer))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def _zstd(stream: IO[bytes]) -> Any:
    import pyarrow  # type: ignore[import-untyped]  # large, and few sources need it

    return pyarrow.CompressedInputStream(pyarrow.PythonFile(stream, "r"), "zstd")


_OPEN: dict[str, Callable[[IO[bytes]], Any]] = {
    "gzip": lambda stream: gzip.GzipFile(fileobj=stream, mode="rb"),
    "bzip2": lambda stream: _Streams(stream, bz2.BZ2Decompressor),
    "xz": lambda stream: _Streams(stream, lzma.LZMADecompressor),
    "lzma": lambda stream: _Streams(stream, lzma.LZMADecompressor),
    "zstd": _zstd,
}


def _ending(path: str) -> str:
    return path.rsplit("/", 1)[-1].rpartition(".")[2].lower()


def _by_content(head: bytes) -> str | None:
    for name, offset, magic in _MAGIC:
        if head.startswith(magic, offset) and (
            name != "bzip2" or head[4:10].startswith(_BZIP2_BLOCKS)
        ):
            return name
    return "zstd or lz4" if int.from_bytes(head[:4], "little") in _SKIPPED else None


def _is_zlib(head: bytes) -> bool:
    """Whether first bytes unpack as those of zlib, which has no magic of its own but two bytes that
    31 divides."""
    if head[:1] != b"\x78":
        return False
    try:
        return bool(zlib.decompressobj().decompress(head, 1))
    except zlib.error:
        return False


def _is_text(head: bytes) -> bool:
    """Whether first bytes are UTF-8 that a person could have typed; the last may be half a character."""
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return all(one.isprintable() or one.isspace() for one in text)
