"""One blob on its way into a registry.

Follows the OCI Distribution Specification 1.1 ("Pushing blobs"): POST opens an upload, PATCH sends what is missing, PUT
names the digest. By default one PATCH streams the whole blob, since some registries refuse chunks of more than a few
MiB; after a broken connection the registry is asked what it holds, and the upload goes on there, or begins anew where
the registry cannot say.
"""

import contextlib
import hashlib
import io
import pathlib
import re
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from tools.oci.distribution.client import Refused, Registry
from tools.oci.distribution.transport import Dropped, Request, Response
from tools.oci.errors import ImageError
from tools.oci.image.layout import Descriptor

_BLOCK = 1 << 20
_RANGE = re.compile(r"(?:bytes[= ])?0-([0-9]+)")


class _Lost(Dropped):
    """The registry no longer knows the upload, or disagrees on how much of it there is."""


class Source:
    """What is sent: it is hashed on the way, each byte once, however often it is sent."""

    def __init__(self, descriptor: Descriptor, content: pathlib.Path | bytes) -> None:
        self.descriptor = descriptor
        self._content = content
        self._hash = hashlib.sha256()
        self._hashed = 0

    def blocks(self, start: int, end: int, meter: Callable[[int], None]) -> Iterator[bytes]:
        """The bytes from `start` to `end`; `meter` is told how far they are.

        Raises:
            ImageError: the file is shorter, or cannot be read.
        """
        with self._opened() as file:
            place = start
            file.seek(place)
            while place < end:
                try:
                    block = file.read(min(_BLOCK, end - place))
                except OSError as error:
                    raise ImageError(f"{self._content!s}: {error.strerror}") from error
                if not block:
                    raise ImageError(f"{self._content!s} ends before its {end} bytes")
                if place <= self._hashed < place + len(block):
                    self._hash.update(block[self._hashed - place :])
                    self._hashed = place + len(block)
                place += len(block)
                yield block
                if place < self.descriptor.size:
                    meter(place)

    def check(self) -> None:
        """To be called when all was sent.

        Raises:
            ImageError: the bytes have another digest than the descriptor says.
        """
        if f"sha256:{self._hash.hexdigest()}" != self.descriptor.digest:
            raise ImageError(
                f"{self._content!s} does not hold what its digest says; build the image again"
            )

    def _opened(self) -> BinaryIO:
        if isinstance(self._content, bytes):
            return io.BytesIO(self._content)
        try:
            return self._content.open("rb")
        except OSError as error:
            raise ImageError(f"{self._content}: {error.strerror}") from error


@dataclass
class _Upload:
    """An upload that a registry has opened: where to send, and how many bytes it holds."""

    url: str
    offset: int
    least: int
    resumed: bool = False


def upload(
    registry: Registry,
    repository: str,
    source: Source,
    meter: Callable[[int], None],
    chunk_bytes: int | None = None,
) -> None:
    """Brings a blob into a repository.

    Args:
        meter: is told the position in the blob, in bytes, after each block; of its end, when the registry has it.
        chunk_bytes: the most that one request carries; None for no bound.
    Raises:
        Unavailable: the connection broke, or the registry was busy, too often in a row without getting further.
        ImageError: the registry refuses, or the source's content does not have its digest.
    """
    going: _Upload | None = None
    attempt, furthest = 0, 0
    while True:
        try:
            if going is None:
                going = _begin(registry, repository)
            _send(registry, repository, source, going, meter=meter, chunk_bytes=chunk_bytes)
            _finish(registry, repository, source, going)
            meter(source.descriptor.size)
            return
        except Dropped as failure:
            if going is not None and going.offset > furthest:
                attempt, furthest = 0, going.offset
            attempt += 1
            registry.retries.pause(attempt, failure)
            if going is not None:
                is_sent = going.offset == source.descriptor.size
                if is_sent and registry.has_blob(repository, source.descriptor.digest):
                    meter(source.descriptor.size)
                    return  # only the answer was lost
                is_lost = isinstance(failure, _Lost)
                going = None if is_lost else _ask(registry, repository, source, going)
        except ImageError:
            if going is not None:
                _cancel(registry, repository, going)
            raise


def _begin(registry: Registry, repository: str) -> _Upload:
    request = Request("POST", registry.url(repository, "blobs/uploads/"))
    with registry.try_once(repository, request, (202,)) as response:
        least = response.headers.get("OCI-Chunk-Min-Length", "0")
        return _Upload(_location(response), 0, int(least) if least.isdigit() else 0)


def _send(
    registry: Registry,
    repository: str,
    source: Source,
    going: _Upload,
    *,
    meter: Callable[[int], None],
    chunk_bytes: int | None,
) -> None:
    """PATCH until the registry holds every byte; `going` follows what it says."""
    size = source.descriptor.size
    while going.offset < size:
        start, end = going.offset, size
        headers = {"Content-Type": "application/octet-stream"}
        if chunk_bytes:
            end = min(size, start + max(chunk_bytes, going.least))
        if chunk_bytes or going.resumed:
            headers["Content-Range"] = f"{start}-{end - 1}"

        def blocks(start: int = start, end: int = end) -> Iterator[bytes]:
            return source.blocks(start, end, meter)

        request = Request("PATCH", going.url, headers, blocks, end - start)
        with _lost_if_resumed(going), registry.try_once(repository, request, (202,)) as response:
            going.url = _location(response)
            # Less than was sent: the rest is sent again. There are registries that always tell of the first chunk
            # alone, so what is not beyond the start says nothing.
            held = _held(response)
            is_short = start < held < end
            going.resumed = going.resumed or is_short
            going.offset = held if is_short else end


def _finish(registry: Registry, repository: str, source: Source, going: _Upload) -> None:
    source.check()
    digest = source.descriptor.digest
    separator = "&" if urllib.parse.urlsplit(going.url).query else "?"
    url = f"{going.url}{separator}{urllib.parse.urlencode({'digest': digest})}"
    with (
        _lost_if_resumed(going),
        registry.try_once(repository, Request("PUT", url), (201,)),
    ):
        pass


def _cancel(registry: Registry, repository: str, going: _Upload) -> None:
    """Tells the registry to forget an upload, which it would do by itself some day."""
    with contextlib.suppress(ImageError):
        request = Request("DELETE", going.url)
        with registry.try_once(repository, request, (202, 204)):
            pass


def _ask(registry: Registry, repository: str, source: Source, going: _Upload) -> _Upload | None:
    """The upload as the registry has it; None where it must begin anew."""
    request = Request("GET", going.url)

    def ask() -> _Upload:
        with registry.try_once(repository, request, (204,)) as response:
            return _Upload(_location(response), _held(response), going.least, resumed=True)

    try:
        held = registry.retrying(ask)
    except Refused:
        return None
    return held if held.offset <= source.descriptor.size else None


@contextlib.contextmanager
def _lost_if_resumed(going: _Upload) -> Iterator[None]:
    """A registry that refuses to go on may still take the blob from its beginning."""
    try:
        yield
    except Refused as error:
        if going.resumed:
            raise _Lost(str(error)) from error
        raise


def _location(response: Response) -> str:
    location = response.headers.get("Location")
    if not location:
        raise ImageError("the registry opened an upload and did not say where")
    return urllib.parse.urljoin(response.url, location)


def _held(response: Response) -> int:
    """How many bytes an upload has, from `Range: 0-LAST`; registries say `0-0` of an empty one, too."""
    matched = _RANGE.fullmatch(response.headers.get("Range", ""))
    last = int(matched[1]) if matched else 0
    return last + 1 if last else 0
