"""How a registry is shown credentials: Basic, or Bearer with a token from its token endpoint.

Follows RFC 7235 (challenges), RFC 7617 (Basic) and the Distribution project's token specification; with an identity
token the endpoint is used as OAuth2 (refresh_token), as `docker login` in a browser leaves it.
"""

import json
import re
import threading
import urllib.parse
from collections.abc import Iterator, Mapping

from tools.oci.distribution import credentials
from tools.oci.distribution.transport import Dropped, Request, Response, Transport, host_of
from tools.oci.errors import ImageError

_CHALLENGE = re.compile(r"\s*(?P<scheme>[A-Za-z]+)(?:\s+(?=[A-Za-z_]+=)|\s*(?:,|$))")
_PARAMETER = re.compile(
    r"\s*(?P<key>[A-Za-z_]+)=(?:\"(?P<quoted>(?:[^\"\\]|\\.)*)\"|(?P<plain>[^\s,\"]+))\s*(?:,|$)"
)
_CLIENT = "retort"


def challenges(header: str) -> dict[str, dict[str, str]]:
    """The challenges of a `WWW-Authenticate` header: scheme in lower case, to its parameters."""
    found: dict[str, dict[str, str]] = {}
    place, current = 0, None
    while place < len(header):
        parameter = _PARAMETER.match(header, place)
        if parameter and current is not None:
            value = parameter["plain"]
            if value is None:
                value = re.sub(r"\\(.)", r"\1", parameter["quoted"])
            current[parameter["key"].lower()] = value
            place = parameter.end()
            continue
        challenge = _CHALLENGE.match(header, place)
        if not challenge:
            break
        current = found.setdefault(challenge["scheme"].lower(), {})
        place = challenge.end()
    return found


class Authorization:
    """The header `Authorization` for the repositories of one registry; safe for several threads."""

    def __init__(self, host: str, actions: str, transport: Transport) -> None:
        """Args:
        host: `HOST[:PORT]` of the registry.
        actions: what tokens are asked for: `pull`, or `pull,push`.
        """
        self._host = host
        self._actions = actions
        self._transport = transport
        self._headers: dict[str, str] = {}
        self._lock = threading.Lock()

    def header(self, repository: str) -> str | None:
        """What to send; None as long as nothing was asked for."""
        return self._headers.get(repository)

    def renew(self, repository: str, rejected: str | None, challenge: str) -> str:
        """A new header, after the registry answered 401 to the old one.

        Args:
            rejected: what was sent.
            challenge: the answer's `WWW-Authenticate`.
        Raises:
            Dropped: the token endpoint cannot be reached, or is busy.
            ImageError: there are no credentials, or they are refused.
        """
        with self._lock:
            current = self._headers.get(repository)
            if current and current != rejected:
                return current  # another thread was here first
            known = credentials.find(self._host, repository)
            offered = challenges(challenge)
            if "bearer" in offered:
                token = self._token(repository, offered["bearer"], known)
                header = f"Bearer {token}"
            elif "basic" in offered:
                if known is None or known.is_token:
                    raise ImageError(self._stranger(repository))
                header = known.basic()
                if header == rejected:
                    raise ImageError(f"{self._host} refuses the credentials of {known.username}")
            else:
                raise ImageError(f"{self._host} wants a way of logging in that is not known here")
            self._headers[repository] = header
            return header

    def _stranger(self, repository: str) -> str:
        return (
            f"{self._host} wants credentials for {repository}: log in with"
            f" `docker login {self._host}` or `podman login {self._host}`"
        )

    def _token(
        self,
        repository: str,
        challenge: Mapping[str, str],
        known: credentials.Credentials | None,
    ) -> str:
        realm = challenge.get("realm", "")
        query = {"scope": f"repository:{repository}:{self._actions}"}
        if "service" in challenge:
            query["service"] = challenge["service"]
        request = _token_request(realm, query, known)
        with self._transport.exchange(request) as response:
            content = response.document()
        if response.status in (401, 403):
            if known is None:
                raise ImageError(self._stranger(repository))
            raise ImageError(
                f"{host_of(realm)} refuses the credentials of {known.username or 'the token'}"
                f" for {self._host}/{repository}"
            )
        if response.status == 429 or response.status >= 500:
            raise Dropped(f"{host_of(realm)} answers {response.status} where tokens are given")
        return self._read(response, content)

    def _read(self, response: Response, content: bytes) -> str:
        try:
            answer = json.loads(content)
            token = answer.get("token") or answer.get("access_token")
        except (ValueError, AttributeError):
            token = None
        # A token is a header's value: nothing that could end a line.
        if response.status != 200 or not isinstance(token, str) or not token.isprintable():
            raise ImageError(
                f"{host_of(response.url)} gave no token for {self._host} (status {response.status})"
            )
        return token


def _token_request(
    realm: str, query: Mapping[str, str], known: credentials.Credentials | None
) -> Request:
    if known and known.is_token:
        form = {
            **query,
            "grant_type": "refresh_token",
            "client_id": _CLIENT,
            "refresh_token": known.secret,
        }
        body = urllib.parse.urlencode(form).encode()

        def blocks() -> Iterator[bytes]:
            yield body

        content_type = {"Content-Type": "application/x-www-form-urlencoded"}
        return Request("POST", realm, content_type, blocks, len(body))
    separator = "&" if "?" in realm else "?"
    headers = {"Authorization": known.basic()} if known else {}
    return Request("GET", f"{realm}{separator}{urllib.parse.urlencode(query)}", headers)
