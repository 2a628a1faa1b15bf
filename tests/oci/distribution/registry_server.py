"""A registry for tests, on a loopback port: it stores what it is given, and insists on the Distribution specification.

Digests, sizes, upload offsets, media types, references between documents and rights are checked as strictly as the
specification allows. `faults` make it fail as real ones do.
"""

import http.server
import re
import ssl
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Fault:
    """Something that goes wrong for requests whose line (`PATCH /v2/…`) matches.

    Attributes:
        times: for how many requests.
        status: answer this instead of doing anything; None where `cut_after` or `lose_answer` is meant.
        cut_after: hang up after so many bytes of the body, either way.
        lose_answer: do all, then hang up.
        expire: forget every token that was given, then go on.
    """

    line: str
    times: int = 1
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    cut_after: int | None = None
    lose_answer: bool = False
    expire: bool = False


@dataclass
class Users:
    """Who may do what.

    Attributes:
        scheme: `basic` or `bearer`.
        passwords: name to password; the identity token `refresh-NAME` stands for a user, too.
        readers: names that may pull only.
    """

    scheme: str
    passwords: Mapping[str, str]
    readers: tuple[str, ...] = ()


@dataclass
class Store:
    """What is kept. Keys start with the repository."""

    blobs: dict[tuple[str, str], bytes] = field(default_factory=dict)
    manifests: dict[tuple[str, str], tuple[str, bytes]] = field(default_factory=dict)
    tags: dict[tuple[str, str], str] = field(default_factory=dict)
    uploads: dict[str, bytearray] = field(default_factory=dict)
    steps: dict[str, int] = field(default_factory=dict)
    tokens: dict[str, tuple[str, str]] = field(default_factory=dict)


class _Server(http.server.ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exception(), ConnectionError | ssl.SSLError):  # a client may hang up
            super().handle_error(request, client_address)  # type: ignore[arg-type]


@dataclass
class RegistryServer:
    """The server's state; `serving` runs it.

    Attributes:
        tls: speak TLS with this.
        has_referrers: whether there is the referrers API of version 1.1.
        forgets_uploads: whether a broken upload is lost.
        accepts: the most bytes that it takes of one PATCH; the rest it leaves to the client.
        blobs_at: where GET of a blob is redirected to, such as `http://127.0.0.1:1234`.
        least_chunk: what it announces as OCI-Chunk-Min-Length.
        patches: bytes of every PATCH.
        sent: bytes of every answer to GET of a blob, by digest.
        lines: `METHOD PATH` of every request, and `authorizations` the header beside each.
    """

    users: Users | None = None
    tls: ssl.SSLContext | None = None
    has_referrers: bool = True
    forgets_uploads: bool = False
    accepts: int | None = None
    blobs_at: str | None = None
    least_chunk: int | None = None
    faults: list[Fault] = field(default_factory=list)
    store: Store = field(default_factory=Store)
    lines: list[str] = field(default_factory=list)
    authorizations: list[str | None] = field(default_factory=list)
    patches: list[int] = field(default_factory=list)
    sent: dict[str, list[int]] = field(default_factory=dict)
    host: str = ""
    lock: threading.RLock = field(default_factory=threading.RLock)

    @contextmanager
    def serving(self) -> Iterator["RegistryServer"]:
        """The server, on a port of its own, as long as the context lasts."""
        from tests.oci.distribution.registry_handler import Handler

        handler = type("Served", (Handler,), {"registry": self})
        with _Server(("127.0.0.1", 0), handler) as server:
            if self.tls:
                server.socket = self.tls.wrap_socket(server.socket, server_side=True)
            self.host = f"127.0.0.1:{server.server_address[1]}"
            thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
            thread.start()
            try:
                yield self
            finally:
                server.shutdown()
                thread.join()

    def count(self, line: str) -> int:
        """How many requests came whose line matches."""
        return sum(bool(re.match(line, each)) for each in self.lines)

    def fault(self, line: str) -> Fault | None:
        """The fault for a request, which is used up by it."""
        with self.lock:
            for fault in self.faults:
                if fault.times and re.match(fault.line, line):
                    fault.times -= 1
                    return fault
        return None
