"""HTTP to a registry: connections that are kept, redirects that do not leak credentials, errors of one line.

One `Transport` serves several threads. It neither retries nor authorises; `registry` does.
"""

import contextlib
import http.client
import socket
import ssl
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from tools.oci.distribution import references
from tools.oci.errors import ImageError

_SILENCE_SECONDS = 300  # a registry may hash many gigabytes before it answers
_IDLE_SECONDS = 15  # a connection kept for longer may have been closed by the other side
_REDIRECTS = 5
_DOCUMENT_BYTES = (
    4 << 20
)  # what the Distribution specification asks registries to accept as a manifest
_BLOCK = 1 << 20
_Origin = tuple[str, str | None, int | None]


class Dropped(ImageError):
    """The connection could not be made, or broke; worth another try."""


@dataclass(frozen=True)
class Request:
    """One request.

    Attributes:
        url: absolute.
        body: makes the body's blocks; called once for each time that the request is sent.
        length: bytes of the body.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Callable[[], Iterator[bytes]] | None = None
    length: int = 0


class Response:
    """An answer whose body is read as it comes.

    Attributes:
        url: what was answered in the end, after redirects.
    """

    def __init__(self, raw: http.client.HTTPResponse, url: str) -> None:
        self._raw = raw
        self.url = url
        self.status = raw.status
        self.headers = raw.headers

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; none at the end of the body.

        Raises:
            Dropped: the connection broke.
        """
        with _network(self.url):
            return self._raw.read(size)

    def document(self) -> bytes:
        """The whole body of a small answer.

        Raises:
            Dropped: the connection broke, or the body is shorter than announced.
            ImageError: it is larger than 4 MiB.
        """
        blocks, size = [], 0
        while block := self.read(_BLOCK):
            blocks.append(block)
            size += len(block)
            if size > _DOCUMENT_BYTES:
                raise ImageError(f"{host_of(self.url)} sent a document of more than 4 MiB")
        if self._raw.length:  # what is left of the announced length
            raise Dropped(f"the connection to {host_of(self.url)} broke")
        return b"".join(blocks)

    @property
    def is_spent(self) -> bool:
        """Whether the body was read to its end and the connection may carry another request."""
        return self._raw.isclosed() and not self._raw.will_close


def host_of(url: str) -> str:
    """`HOST[:PORT]` of a URL."""
    return urllib.parse.urlsplit(url).netloc


def origin(url: str) -> _Origin:
    """Scheme, host and port: two URLs that share them belong to one server (RFC 6454).

    Raises:
        ImageError: it is no URL.
    """
    try:
        split = urllib.parse.urlsplit(url)
        port = split.port
    except ValueError as error:
        raise ImageError(f"{url!r} is no address of a registry") from error
    return split.scheme, split.hostname, port or {"http": 80, "https": 443}.get(split.scheme)


class Transport:
    """Connections to a registry and to the hosts that it points to."""

    def __init__(self, plain_http: bool) -> None:
        """Args: plain_http: whether http:// is allowed to hosts other than this machine."""
        self._plain_http = plain_http
        self._tls = ssl.create_default_context()
        self._idle: dict[_Origin, list[tuple[float, http.client.HTTPConnection]]] = {}
        self._lock = threading.Lock()

    def base(self, host: str) -> str:
        """`http://HOST` or `https://HOST`."""
        plain = self._plain_http or references.is_loopback(host)
        return f"{'http' if plain else 'https'}://{host}"

    @contextlib.contextmanager
    def exchange(self, request: Request) -> Iterator[Response]:
        """Sends a request, following the redirects of GET and HEAD.

        Credentials go to the request's own origin alone.

        Raises:
            Dropped: there is no connection, or it broke.
            ImageError: a certificate is not trusted, or http:// is not allowed.
        """
        url, headers = request.url, dict(request.headers)
        for _ in range(_REDIRECTS):
            connection, raw = self._send(request, url, headers)
            response = Response(raw, url)
            target = response.headers.get("Location")
            redirected = response.status in (301, 302, 303, 307, 308) and target
            try:
                if not redirected:
                    yield response
                elif request.method not in ("GET", "HEAD"):
                    raise ImageError(f"{host_of(url)} moves uploads to {target}: push there")
                else:
                    response.document()
            except BaseException:
                connection.close()
                raise
            if request.body and response.status >= 300:
                connection.close()  # the body may not have been read
            else:
                self._keep(url, connection, response)
            if not redirected:
                return
            new = urllib.parse.urljoin(url, str(target))
            if origin(new) != origin(url):
                headers.pop("Authorization", None)
            url = new
        raise ImageError(f"{host_of(request.url)} redirects without end")

    def _send(
        self, request: Request, url: str, headers: Mapping[str, str]
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        kept = self._take(url)
        if kept:
            try:
                return kept, self._try(kept, request, url, headers)
            except Dropped:
                # The other side may have closed a kept connection just now, which is no failure. Only a question may
                # be put twice without thought: a PUT may have been done.
                if request.method not in ("GET", "HEAD"):
                    raise
        connection = self._connect(url)
        return connection, self._try(connection, request, url, headers)

    def _try(
        self,
        connection: http.client.HTTPConnection,
        request: Request,
        url: str,
        headers: Mapping[str, str],
    ) -> http.client.HTTPResponse:
        split = urllib.parse.urlsplit(url)
        target = urllib.parse.urlunsplit(("", "", split.path or "/", split.query, ""))
        body = request.body() if request.body else None
        sent = dict(headers)
        if request.method not in ("GET", "HEAD"):
            sent["Content-Length"] = str(request.length)
        try:
            with _network(url):
                try:
                    connection.request(request.method, target, body=body, headers=sent)
                except (BrokenPipeError, ConnectionResetError):
                    if connection.sock is None:
                        raise
                    # A server that refuses a body may answer and hang up before it has read it.
                return connection.getresponse()
        except BaseException:
            connection.close()
            raise

    def _connect(self, url: str) -> http.client.HTTPConnection:
        scheme, host, port = origin(url)
        if scheme not in ("http", "https") or not host:
            raise ImageError(f"{url!r} is no address of a registry")
        if scheme == "https":
            return http.client.HTTPSConnection(
                host, port, timeout=_SILENCE_SECONDS, context=self._tls
            )
        if not (self._plain_http or references.is_loopback(host_of(url))):
            raise ImageError(f"{host_of(url)} wants plain HTTP; allow it with --plain-http")
        return http.client.HTTPConnection(host, port, timeout=_SILENCE_SECONDS)

    def _take(self, url: str) -> http.client.HTTPConnection | None:
        with self._lock:
            kept = self._idle.get(origin(url), [])
            while kept:
                since, connection = kept.pop()
                if time.monotonic() - since < _IDLE_SECONDS:
                    return connection
                connection.close()
        return None

    def _keep(self, url: str, connection: http.client.HTTPConnection, response: Response) -> None:
        with contextlib.suppress(Dropped):
            response.read(1)  # an empty body counts as read only then
        if not response.is_spent:
            connection.close()
            return
        with self._lock:
            self._idle.setdefault(origin(url), []).append((time.monotonic(), connection))

    def close(self) -> None:
        """Closes the connections that are idle."""
        with self._lock:
            for kept in self._idle.values():
                for _, connection in kept:
                    connection.close()
            self._idle.clear()


@contextlib.contextmanager
def _network(url: str) -> Iterator[None]:
    """Turns the errors of the network into ours."""
    host = host_of(url)
    try:
        yield
    except socket.gaierror as error:
        raise Dropped(f"cannot find the host of {host}: {error.strerror}") from error
    except ssl.SSLCertVerificationError as error:
        raise ImageError(
            f"the certificate of {host} is not trusted: {error.verify_message};"
            " SSL_CERT_FILE may name an authority of your own"
        ) from error
    except ssl.SSLError as error:
        if error.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST"):
            raise ImageError(f"{host} speaks plain HTTP; allow it with --plain-http") from error
        raise Dropped(f"TLS with {host} failed: {error.reason}") from error
    except ConnectionRefusedError as error:
        raise Dropped(f"cannot connect to {host}: connection refused") from error
    except TimeoutError as error:
        raise Dropped(f"{host} did not answer") from error
    except (OSError, http.client.HTTPException) as error:
        raise Dropped(f"the connection to {host} broke ({type(error).__name__})") from error
