"""Reading the layers of an image one member at a time, compressed or not."""

import contextlib
import gzip
import io
import pathlib
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import IO, Any

from tools.oci.errors import ImageError
from tools.oci.image.layout import LAYER, Descriptor, Layout

_BLOCK = 1 << 20


@dataclass(frozen=True)
class File:
    """A regular file of a layer: its path without a leading slash, its size in bytes."""

    path: str
    size: int


@dataclass(frozen=True)
class LayerFiles:
    """What is in one layer.

    Attributes:
        size: of the uncompressed layer in bytes, headers and padding included.
        files: its regular files.
        texts: path to content of the files that were asked for.
    """

    size: int
    files: list[File] = field(default_factory=list)
    texts: dict[str, bytes] = field(default_factory=dict)


def read_layer(layout: Layout, layer: Descriptor, wanted: Callable[[str], bool]) -> LayerFiles:
    """Reads a layer from end to end.

    Args:
        wanted: whether the content of a file, given by its path, is to be kept.
    Raises:
        ImageError: the layer is missing, damaged, or compressed in a way that cannot be read here.
    """
    files: list[File] = []
    texts = {}
    try:
        with _uncompressed(layout.blob(layer.digest), layer.media_type) as stream:
            counted = _Counted(stream)
            # `r|` reads forward only, so a layer of any size needs one block of memory.
            with tarfile.open(fileobj=io.BufferedReader(counted, _BLOCK), mode="r|") as archive:
                for member in archive:
                    if not member.isreg():
                        continue
                    path = member.name.removeprefix("./").lstrip("/")
                    files.append(File(path, member.size))
                    content = archive.extractfile(member) if wanted(path) else None
                    if content is not None:
                        texts[path] = content.read()
            while counted.read(_BLOCK):
                pass
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise ImageError(f"{layout.path}: layer {layer.digest} cannot be read: {error}") from error
    return LayerFiles(counted.count, files, texts)


class _Counted(io.RawIOBase):
    """Counts the bytes read from a stream."""

    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__()
        self._stream = stream
        self.count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        block = self._stream.read(len(buffer))
        buffer[: len(block)] = block
        self.count += len(block)
        return len(block)


@contextlib.contextmanager
def _uncompressed(path: pathlib.Path, media_type: str) -> Iterator[IO[bytes]]:
    with path.open("rb") as file:
        if media_type == LAYER:
            yield file
        elif media_type == f"{LAYER}+gzip":
            with gzip.open(file) as stream:
                yield stream  # type: ignore[misc]  # a GzipFile reads bytes as any file does
        elif media_type == f"{LAYER}+zstd":
            with _zstd(file) as stream:
                yield stream
        else:
            raise ImageError(f"{path.name}: a layer of the unknown kind {media_type}")


@contextlib.contextmanager
def _zstd(file: IO[bytes]) -> Iterator[IO[bytes]]:
    try:
        import zstandard
    except ImportError as error:
        raise ImageError(
            "layers in zstd are read with the package zstandard; install it"
        ) from error
    try:
        with zstandard.ZstdDecompressor().stream_reader(
            file, read_size=_BLOCK, read_across_frames=True
        ) as stream:
            yield stream
    except zstandard.ZstdError as error:
        raise OSError(str(error)) from error
