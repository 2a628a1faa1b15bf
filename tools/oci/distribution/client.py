"""A registry's repositories: manifests and blobs.

Follows the OCI Distribution Specification 1.1. What is read is checked against its digest. A request that meets 429,
a server's error or a broken connection is sent again, later each time, and not before `Retry-After`.
"""

import contextlib
import email.utils
import hashlib
import json
import time
import urllib.parse
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

from tools.oci.distribution.authorization import Authorization
from tools.oci.distribution.transport import Dropped, Request, Response, Transport, origin
from tools.oci.errors import ImageError
from tools.oci.image import layout

DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_ACCEPTED = ", ".join((layout.MANIFEST, layout.INDEX, DOCKER_MANIFEST, DOCKER_INDEX))
_LONGEST_WAIT_SECONDS = 120.0
_SHOWN = 200  # characters of a registry's own words
_Result = TypeVar("_Result")


class Unavailable(ImageError):
    """The registry was not there, or was busy, as often as it was asked."""


class Refused(ImageError):
    """The registry answered, and will not do what it was asked."""


class Denied(ImageError):
    """The registry answered 401 or 403."""


class Busy(Dropped):
    """The registry answered 429 or 5xx.

    Attributes:
        after_seconds: how long it asks to be left alone; None where it does not say.
    """

    def __init__(self, message: str, after_seconds: float | None) -> None:
        super().__init__(message)
        self.after_seconds = after_seconds


@dataclass(frozen=True)
class Retries:
    """How stubborn a client is.

    Attributes:
        attempts: how often a request is sent before the client gives up.
        first_seconds: the first pause; each later one is twice as long.
    """

    attempts: int = 5
    first_seconds: float = 0.5

    def pause(self, attempt: int, failure: Dropped) -> None:
        """Waits after a failed attempt, counted from 1.

        Raises:
            Unavailable: it was the last one, or the registry wants to be left alone for longer than two minutes.
        """
        if attempt >= self.attempts:
            tried = "once" if attempt == 1 else f"{attempt} times"
            raise Unavailable(f"{failure} (tried {tried})") from failure
        asked = failure.after_seconds if isinstance(failure, Busy) else None
        if asked is not None and asked > _LONGEST_WAIT_SECONDS:
            raise Unavailable(f"{failure}, and asks to wait {asked:.0f} s") from failure
        own = min(self.first_seconds * 2 ** (attempt - 1), _LONGEST_WAIT_SECONDS)
        time.sleep(max(own, asked or 0))


@dataclass(frozen=True)
class Manifest:
    """A manifest or an index, as the registry keeps it."""

    descriptor: layout.Descriptor
    content: bytes


class Registry:
    """A client of one registry; several threads may use it."""

    def __init__(
        self,
        host: str,
        *,
        actions: str = "pull",
        plain_http: bool = False,
        retries: Retries | None = None,
    ) -> None:
        """Args:
        host: `HOST[:PORT]`.
        actions: what is going to be done, as a token's scope says it: `pull`, or `pull,push`.
        plain_http: whether a host other than this machine is spoken to without TLS.
        """
        self.host = host
        self.retries = retries or Retries()
        self._transport = Transport(plain_http)
        self._base = self._transport.base(host)
        self._authorization = Authorization(host, actions, self._transport)

    def __enter__(self) -> "Registry":
        return self

    def __exit__(self, *_: object) -> None:
        self._transport.close()

    def url(self, repository: str, path: str, **query: str) -> str:
        """The address of something in a repository."""
        suffix = f"?{urllib.parse.urlencode(query)}" if query else ""
        return f"{self._base}/v2/{repository}/{path}{suffix}"

    def has_blob(self, repository: str, digest: str) -> bool:
        """Whether a repository holds a blob."""
        request = Request("HEAD", self.url(repository, f"blobs/{digest}"))

        def ask() -> bool:
            with self.try_once(repository, request, (200, 404)) as response:
                return response.status == 200

        return self.retrying(ask)

    def manifest(self, repository: str, reference: str) -> Manifest | None:
        """A manifest or an index by its tag or digest; None where there is none.

        Raises:
            ImageError: its content has another digest than was asked for, or than the registry says.
        """
        url = self.url(repository, f"manifests/{reference}")
        request = Request("GET", url, {"Accept": _ACCEPTED})

        def read() -> Manifest | None:
            with self.try_once(repository, request, (200, 404)) as response:
                content = response.document()
            if response.status == 404:
                return None
            digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
            stated = response.headers.get("Docker-Content-Digest", digest)
            if digest != (reference if ":" in reference else stated):
                raise ImageError(
                    f"{self.host}/{repository}: the manifest {reference} came with other content"
                )
            media_type = response.headers.get_content_type()
            return Manifest(layout.Descriptor(media_type, digest, len(content)), content)

        return self.retrying(read)

    def put_manifest(
        self, repository: str, reference: str, content: bytes, media_type: str
    ) -> bool:
        """Stores a manifest or an index under a tag or its digest.

        Returns:
            Whether the registry keeps a list of referrers and entered the manifest's `subject` there.
        """

        def blocks() -> Iterator[bytes]:
            yield content

        url = self.url(repository, f"manifests/{reference}")
        request = Request("PUT", url, {"Content-Type": media_type}, blocks, len(content))

        def put() -> bool:
            with self.try_once(repository, request, (201,)) as response:
                return "OCI-Subject" in response.headers

        return self.retrying(put)

    @contextlib.contextmanager
    def blob(self, repository: str, digest: str, start: int) -> Iterator[Response]:
        """A blob's content from byte `start` on, to be read while the context lasts; asked for once.

        The answer has status 206 where it begins at `start`, 416 where the registry has nothing there, and 200 where
        it begins at 0 in any case.
        """
        headers = {"Range": f"bytes={start}-"} if start else {}
        request = Request("GET", self.url(repository, f"blobs/{digest}"), headers)
        with self.try_once(repository, request, (200, 206, 416) if start else (200,)) as response:
            yield response

    def retrying(self, action: Callable[[], _Result]) -> _Result:
        """The result of an action that can be repeated; repeats it after a `Dropped`.

        Raises:
            Unavailable: it failed so as often as `retries` allows.
        """
        attempt = 0
        while True:
            attempt += 1
            try:
                return action()
            except Dropped as failure:
                self.retries.pause(attempt, failure)

    @contextlib.contextmanager
    def try_once(
        self, repository: str, request: Request, expected: Collection[int]
    ) -> Iterator[Response]:
        """Sends a request once, or again with the credentials that the registry asks for.

        Raises:
            Busy: it was answered 429 or 5xx.
            Dropped: the connection broke.
            Refused, Denied: it was answered otherwise than expected; the message has the registry's own words.
        """
        # An upload may go on at another host, which must not see the credentials of this one.
        ours = origin(request.url) == origin(self._base)
        header = self._authorization.header(repository) if ours else None
        # The second header may be another thread's, and have run out as well.
        for last in (False, False, True):
            signed = request
            if header:
                headers = {**request.headers, "Authorization": header}
                signed = replace(request, headers=headers)
            with self._transport.exchange(signed) as response:
                if response.status in expected:
                    yield response
                    return
                refusal = self._refusal(repository, request, response)
                if response.status != 401 or last or not ours:
                    raise refusal
                challenge = ", ".join(response.headers.get_all("WWW-Authenticate", []))
            header = self._authorization.renew(repository, header, challenge)

    def _refusal(self, repository: str, request: Request, response: Response) -> ImageError:
        words = ""
        if request.method != "HEAD":
            with contextlib.suppress(Dropped):
                words = _words(response.document())
        place = f"{self.host}/{repository}"
        if response.status == 429 or response.status >= 500:
            after = _after_seconds(response.headers.get("Retry-After"))
            return Busy(f"{place}: the registry answers {response.status}{words}", after)
        if response.status in (401, 403):
            return Denied(f"{place}: the registry denies this ({response.status}){words}")
        return Refused(
            f"{place}: the registry answers {response.status} to {request.method}{words}"
        )


def _words(body: bytes) -> str:
    """What a registry says of an error, in one line, such as `: DENIED: no rights`."""
    try:
        first = json.loads(body)["errors"][0]
        words = f"{first.get('code', '')}: {first.get('message', '')}"
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return ""
    printable = "".join(letter if letter.isprintable() else " " for letter in words)
    return f": {printable[:_SHOWN].strip(': ')}"


def _after_seconds(header: str | None) -> float | None:
    """`Retry-After` (RFC 9110): a number of seconds, or a date."""
    if header is None:
        return None
    if header.strip().isdigit():
        return float(header)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(header).timestamp() - time.time())
    except ValueError:
        return None
