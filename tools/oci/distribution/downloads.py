"""One blob on its way out of a registry: what is on disk already is not asked for again (RFC 9110, `Range`)."""

import hashlib
import pathlib
from collections.abc import Callable
from typing import BinaryIO

from tools.oci.distribution.client import Registry
from tools.oci.distribution.transport import Dropped
from tools.oci.errors import ImageError
from tools.oci.image.layout import Descriptor

_BLOCK = 1 << 20


class _Partial:
    """The beginning of a blob, in a file and hashed."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.size = 0
        file.seek(0)
        while block := file.read(_BLOCK):
            self._hash.update(block)
            self.size += len(block)

    @property
    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"

    def append(self, block: bytes) -> None:
        self._file.write(block)
        self._hash.update(block)
        self.size += len(block)

    def restart(self) -> None:
        self._file.seek(0)
        self._file.truncate()
        self._hash = hashlib.sha256()
        self.size = 0


def download(
    registry: Registry,
    repository: str,
    descriptor: Descriptor,
    path: pathlib.Path,
    meter: Callable[[int], None],
) -> None:
    """Fetches a blob into a file, which may hold its beginning.

    Args:
        meter: is told the position in the blob, in bytes, after each block.
    Raises:
        Unavailable: the connection broke, or the registry was busy, too often in a row without getting further.
        ImageError: there is no such blob, or its content has another digest.
    """
    with path.open("a+b") as file:
        partial = _Partial(file)
        is_pieced = partial.size > 0
        attempt, furthest = 0, partial.size
        while partial.size != descriptor.size or partial.digest != descriptor.digest:
            if partial.size >= descriptor.size:
                if not is_pieced:
                    raise ImageError(
                        f"{registry.host}/{repository}: {descriptor.digest} came with other content"
                    )
                is_pieced = False  # the pieces do not fit; once more, in one
                partial.restart()
            try:
                _read_on(registry, repository, descriptor, partial, meter)
            except Dropped as failure:
                if partial.size > furthest:
                    attempt, furthest = 0, partial.size
                attempt += 1
                is_pieced = is_pieced or partial.size > 0
                file.flush()
                registry.retries.pause(attempt, failure)
    meter(descriptor.size)


def _read_on(
    registry: Registry,
    repository: str,
    descriptor: Descriptor,
    partial: _Partial,
    meter: Callable[[int], None],
) -> None:
    with registry.blob(repository, descriptor.digest, partial.size) as response:
        given = response.headers.get("Content-Range", "")
        if response.status != 206 or not given.startswith(f"bytes {partial.size}-"):
            partial.restart()
        if response.status == 416 or (response.status == 206 and not partial.size):
            return  # asked for again, from the beginning
        while partial.size < descriptor.size:
            block = response.read(min(_BLOCK, descriptor.size - partial.size))
            if not block:
                raise Dropped(f"the connection to {registry.host} broke")
            partial.append(block)
            if partial.size < descriptor.size:
                meter(partial.size)
