"""Files by path or fsspec address, in an order that no file system decides."""

import io
import os
import stat
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import IO, Any
from zipfile import ZipFile

import fsspec  # type: ignore[import-untyped]
from fsspec.core import has_magic, url_to_fs  # type: ignore[import-untyped]
from fsspec.implementations.local import LocalFileSystem  # type: ignore[import-untyped]
from fsspec.implementations.memory import MemoryFileSystem  # type: ignore[import-untyped]

from retort.core.errors import DataError, RetortError
from retort.data.files.compression import (
    HEAD,
    TOO_MUCH,
    ZIP,
    bound,
    check_packed,
    compression_by_name,
    decompress,
    members,
    refuse_packed,
)
from retort.data.files.decoding import printable

_BUFFER = 1 << 20
_DEEPER = "deeper than <label>/*.txt"
_NO_FILE = "cannot be read: is not a file but a directory, a FIFO, a socket or a device"
_VERSIONS = ("ETag", "etag", "md5Hash", "generation", "CRC", "mtime", "created", "LastModified")


@dataclass(frozen=True)
class File:
    """One file of a source, or one member of a zip archive.

    Attributes:
        address: for errors: where it is, on this machine or in which bucket.
        name: for reports, which are sealed: its path below what the recipe names. Both hold no
            character that cannot be printed.
        size: in bytes; None where the storage does not say.
        version: what its storage tells later contents by, such as the time of the last change.
        archive: the open archive that it is a member of.
    """

    address: str
    name: str
    path: str = field(repr=False)
    system: fsspec.AbstractFileSystem = field(repr=False)
    size: int | None = None
    version: str = field(default="", repr=False)
    archive: ZipFile | None = field(default=None, repr=False)

    @property
    def directory(self) -> str:
        """The name of the directory that it is in."""
        return self.path.rsplit("/", 2)[-2]

    @property
    def private(self) -> bool:
        """Whether it is in the memory of this process, where no other can read it."""
        return isinstance(self.system, MemoryFileSystem)

    @property
    def compression(self) -> str | None:
        """How its content is compressed, by the end of its name, such as `gzip` for `.gz`."""
        return None if self.archive else compression_by_name(self.path)

    @contextmanager
    def open(self, *, from_start: bool = True) -> Iterator[IO[bytes]]:
        """Open it to read bytes, decompressed.

        Args:
            from_start: whether its first bytes are read, which are looked at then.
        Raises:
            DataError: it cannot be opened, later cannot be read on, is compressed in a way that is
                not read or that its name does not say, or is not what it was when it was found.
        """
        with ExitStack() as opened:
            stream = opened.enter_context(self._raw())
            unpacked_from = ZIP if self.archive else self.compression
            if self.compression is not None:
                check_packed(self.address, self.path, _head(stream))
                with reading(self.address):
                    inner = opened.enter_context(decompress(stream, self.compression))
                stream = opened.enter_context(_buffered(inner, self.address, bound(self.size)))
            if from_start:
                refuse_packed(self.address, self.path, _head(stream), inside=unpacked_from)
            yield stream
        self._check_unchanged()

    def parts(self, left_out: Counter[str]) -> Iterator["File"]:
        """The file itself; of a zip archive its members, in the order of their names.

        Args:
            left_out: counts members that are no documents.
        Raises:
            DataError: the archive or a member of it cannot be read; see `members`.
        """
        if self.compression != ZIP:
            yield self
            return
        with self._raw() as stream:
            check_packed(self.address, self.path, _head(stream))
            with reading(self.address):
                archive = ZipFile(stream)
            with archive:
                for one in members(archive, self.address, self.size, left_out):
                    name = printable(one.filename)
                    yield replace(
                        self,
                        address=f"{self.address}/{name}",
                        name=f"{self.name}/{name}",
                        path=one.filename,
                        size=one.file_size,
                        archive=archive,
                    )
        self._check_unchanged()

    @contextmanager
    def _raw(self) -> Iterator[io.BufferedReader]:
        with reading(self.address):
            raw = (
                self.archive.open(self.path) if self.archive else self.system.open(self.path, "rb")
            )
        with raw, _buffered(raw, self.address) as stream:
            yield stream

    def _check_unchanged(self) -> None:
        if self.archive is None and self.version:
            now = found(self.system, self.path, self.address, again=True)
            if now != (self.size, self.version):
                raise DataError(
                    f"{self.address}: has changed while it was read; start again when nobody "
                    "writes to it"
                )


def _buffered(file: Any, address: str, most: int | None = None) -> io.BufferedReader:
    return io.BufferedReader(_Reader(file, address, most), _BUFFER)


def _head(stream: IO[bytes]) -> bytes:
    """The first bytes, which are read again later."""
    assert isinstance(stream, io.BufferedReader)
    return stream.peek(HEAD)[:HEAD]


class _Reader(io.RawIOBase):
    """A storage's file whose errors name its address, of at most so many bytes."""

    def __init__(self, file: Any, address: str, most: int | None) -> None:
        super().__init__()
        self._file = file
        self._address = address
        self._left = most

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return bool(self._file.seekable())

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        with reading(self._address):
            return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def readinto(self, buffer: Any) -> int:
        with reading(self._address):
            data = self._file.read(len(buffer))
        if self._left is not None:
            self._left -= len(data)
            if self._left < 0:
                raise DataError(f"{self._address}: {TOO_MUCH}")
        buffer[: len(data)] = data
        return len(data)


@contextmanager
def reading(address: str) -> Iterator[None]:
    """Turn a storage's errors, each of which has its own, into a `DataError` with the address."""
    try:
        yield
    except RetortError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"{address}: does not exist") from error
    except ImportError as error:
        raise DataError(f"{address}: cannot be read: {error}") from error
    except Exception as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        told = printable(" ".join(str(reason).split()))
        raise DataError(f"{address}: cannot be read: {told}") from error


def found(
    system: fsspec.AbstractFileSystem, path: str, address: str, *, again: bool = False
) -> tuple[int | None, str]:
    """Size in bytes and version of a file, as of `File`.

    Args:
        again: look once more, whatever the storage has been asked before.
    Raises:
        DataError: it cannot be reached, or is no file: a FIFO would never end.
    """
    with reading(address):
        if isinstance(system, LocalFileSystem):
            facts = os.stat(path)
            if not stat.S_ISREG(facts.st_mode):
                raise DataError(f"{address}: {_NO_FILE}")
            return facts.st_size, f"{facts.st_mtime_ns} {facts.st_ino}"
        if again:
            system.invalidate_cache(path)
        told = system.info(path)
        if told.get("type") == "directory":
            raise DataError(f"{address}: {_NO_FILE}")
    version = next((str(told[key]) for key in _VERSIONS if told.get(key)), "unknown")
    return told.get("size"), version


def find_files(addresses: Sequence[str], options: Mapping[str, Any]) -> list[File]:
    """The files that addresses name: in the order given, those of a glob sorted, each once.

    Raises:
        DataError: an address cannot be reached, or names nothing or what is not a file.
    """
    files: dict[Any, File] = {}
    for address in addresses:
        with reading(address):
            system, path = url_to_fs(address, **options)
            literal = not has_magic(path) or system.exists(path)
            paths = [path] if literal else system.glob(path)
            chosen = [one for one in paths if literal or not system.isdir(one)]
            if literal and system.isdir(path):
                raise DataError(f"{address}: is a directory; name its files, such as {address}/*")
            if literal and not system.exists(path):
                raise FileNotFoundError(address)
        if not chosen:
            raise DataError(f"{address}: finds no file")
        base = "" if literal else _fixed_part(path)
        for one in sorted(chosen, key=_parts):
            name = one.removeprefix(base) if base else _parts(one)[-1]
            if (system, one) not in files:
                files[system, one] = _file(system, one, name, address)
    return list(files.values())


def find_labelled(
    addresses: Sequence[str], options: Mapping[str, Any], left_out: Counter[str]
) -> list[File]:
    """The files `<label>/*.txt` in directories: in the order given, those of each one sorted.

    Args:
        left_out: counts what else there is, by the reason that it is no document.
    Raises:
        DataError: a directory cannot be reached, is none, or holds no such file.
    """
    files: dict[Any, File] = {}
    for address in addresses:
        with reading(address):
            system, root = url_to_fs(address, **options)
            if not system.isdir(root):
                raise DataError(f"{address}: is not a directory; it holds <label>/*.txt files")
            texts = list(_texts(system, root, left_out))
        if not texts:
            raise DataError(f"{address}: holds no documents; they are found as <label>/*.txt")
        for one in sorted(texts, key=_parts):
            if (system, one) not in files:
                files[system, one] = _file(system, one, "/".join(_parts(one)[-2:]), address)
    return list(files.values())


def _texts(system: fsspec.AbstractFileSystem, root: str, left_out: Counter[str]) -> Iterator[str]:
    for label in system.ls(root, detail=True):
        if _parts(label["name"])[-1].startswith("."):
            left_out["hidden, beside the labels"] += 1
        elif not _is_directory(system, label):
            left_out["beside the labels' directories"] += 1
        else:
            for entry in system.ls(label["name"], detail=True):
                path = entry["name"]
                if path.endswith(".txt"):
                    yield path
                elif entry["type"] == "directory":
                    left_out[_DEEPER] += len(system.find(path))
                elif _is_directory(system, entry):
                    left_out[_DEEPER] += 1  # not followed: it may lead back here
                else:
                    left_out["of a name that does not end in .txt"] += 1


def _file(system: fsspec.AbstractFileSystem, path: str, name: str, address: str) -> File:
    where = printable(system.unstrip_protocol(path) if "://" in address else path)
    return File(where, printable(name), path, system, *found(system, path, where))


def _is_directory(system: fsspec.AbstractFileSystem, entry: Mapping[str, Any]) -> bool:
    if entry["type"] == "directory":
        return True
    return bool(entry.get("islink")) and bool(system.isdir(entry["name"]))


def _parts(path: str) -> tuple[str, ...]:
    return tuple(path.rstrip("/").split("/"))


def _fixed_part(pattern: str) -> str:
    """The directories of a glob that come before its first wildcard."""
    fixed = ""
    for part in pattern.split("/"):
        if has_magic(part):
            break
        fixed += f"{part}/"
    return fixed
