"""Files by path or fsspec address, in an order that no file system decides."""

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, Any

import fsspec  # type: ignore[import-untyped]
from fsspec.compression import compr  # type: ignore[import-untyped]
from fsspec.core import has_magic, url_to_fs  # type: ignore[import-untyped]
from fsspec.implementations.memory import MemoryFileSystem  # type: ignore[import-untyped]
from fsspec.utils import infer_compression  # type: ignore[import-untyped]

from retort.core.errors import DataError, RetortError

_BUFFER = 1 << 20


@dataclass(frozen=True)
class File:
    """One file of a source.

    Attributes:
        address: for errors: where it is, on this machine or in which bucket.
        name: for reports, which are sealed: its path below what the recipe names.
    """

    address: str
    name: str
    path: str = field(repr=False)
    system: fsspec.AbstractFileSystem = field(repr=False)

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
        name: str | None = infer_compression(self.path)
        return name

    def size(self) -> int | None:
        """Its size in bytes; None where the storage does not say.

        Raises:
            DataError: it cannot be reached.
        """
        with reading(self.address):
            size: int | None = self.system.size(self.path)
        return size

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """Open it to read bytes, decompressed.

        Raises:
            DataError: it cannot be opened, or later cannot be read on.
        """
        with reading(self.address):
            raw = self.system.open(self.path, "rb")
            if self.compression is not None:
                raw = compr[self.compression](raw, mode="rb")
        with raw, io.BufferedReader(_Reader(raw, self.address), _BUFFER) as file:
            yield file


class _Reader(io.RawIOBase):
    """A storage's file whose errors name its address."""

    def __init__(self, file: Any, address: str) -> None:
        super().__init__()
        self._file = file
        self._address = address

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
        raise DataError(f"{address}: cannot be read: {' '.join(str(reason).split())}") from error


def find_files(addresses: Sequence[str], options: Mapping[str, Any]) -> list[File]:
    """The files that addresses name: in the order given, those of a glob sorted, each once.

    Raises:
        DataError: an address cannot be reached, or names nothing.
    """
    found: dict[str, File] = {}
    for address in addresses:
        with reading(address):
            system, path = url_to_fs(address, **options)
            literal = not has_magic(path) or system.exists(path)
            paths = [path] if literal else system.glob(path)
            files = [one for one in paths if literal or not system.isdir(one)]
            if literal and system.isdir(path):
                raise DataError(f"{address}: is a directory; name its files, such as {address}/*")
            if literal and not system.exists(path):
                raise FileNotFoundError(address)
        if not files:
            raise DataError(f"{address}: finds no file")
        base = "" if literal else _fixed_part(path)
        for one in sorted(files, key=_parts):
            name = one.removeprefix(base) if base else _parts(one)[-1]
            file = File(
                system.unstrip_protocol(one) if "://" in address else one, name, one, system
            )
            found.setdefault(file.address, file)
    return list(found.values())


def find_labelled(addresses: Sequence[str], options: Mapping[str, Any]) -> list[File]:
    """The files `<label>/*.txt` in directories: in the order given, those of each one sorted.

    Raises:
        DataError: a directory cannot be reached, is none, or holds no such file.
    """
    found: dict[str, File] = {}
    for address in addresses:
        with reading(address):
            system, root = url_to_fs(address, **options)
            if not system.isdir(root):
                raise DataError(f"{address}: is not a directory; it holds <label>/*.txt files")
            labels = [
                one["name"] for one in system.ls(root, detail=True) if _is_directory(system, one)
            ]
            texts = [
                path
                for label in labels
                for path in system.ls(label, detail=False)
                if path.endswith(".txt")
            ]
        if not texts:
            raise DataError(f"{address}: holds no documents; they are found as <label>/*.txt")
        for one in sorted(texts, key=_parts):
            name = "/".join(_parts(one)[-2:])
            file = File(
                system.unstrip_protocol(one) if "://" in address else one, name, one, system
            )
            found.setdefault(file.address, file)
    return list(found.values())


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
