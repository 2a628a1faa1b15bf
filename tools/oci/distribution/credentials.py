"""Credentials of registries, from where `docker login` and `podman login` put them.

The file is REGISTRY_AUTH_FILE if that is set (podman's auth.json), else config.json in DOCKER_CONFIG, else in
~/.docker. In it, `credHelpers` and `credsStore` name programs `docker-credential-…`, which are asked over their
protocol (the server's name on standard input, JSON on standard output), and `auths` holds secrets itself. No secret
is ever printed: it is in no message, and in no `repr`.
"""

import base64
import binascii
import json
import os
import pathlib
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tools.oci.errors import ImageError

_HELPER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_TOKEN_USER = "<token>"  # what a helper gives as the name where the secret is an identity token


@dataclass(frozen=True)
class Credentials:
    """What a registry is shown.

    Attributes:
        username: empty with an identity token.
        secret: the password, or the token.
        is_token: whether `secret` is an OAuth2 identity token, for a token endpoint only.
    """

    username: str
    secret: str = field(repr=False)
    is_token: bool = False

    def basic(self) -> str:
        """The value of a header `Authorization: Basic` (RFC 7617)."""
        encoded = base64.b64encode(f"{self.username}:{self.secret}".encode()).decode()
        return f"Basic {encoded}"


def find(host: str, repository: str, env: Mapping[str, str] = os.environ) -> Credentials | None:
    """The credentials for a repository; None where nothing is known and the registry is asked as a stranger.

    Args:
        host: `HOST[:PORT]`.
        repository: podman keeps credentials of single namespaces, too; the longest match counts.
    Raises:
        ImageError: the file or a helper is unusable.
    """
    path = _file(env)
    if path is None:
        return None
    config = _read(path)
    helper = _table(config, "credHelpers", path).get(host) or config.get("credsStore")
    if helper:
        found = _ask(str(helper), host, path)
        if found:
            return found
    auths = {_key(key): value for key, value in _table(config, "auths", path).items()}
    for key in _keys(host, repository):
        if key in auths:
            found = _decode(auths[key], key, path)
            if found:
                return found
    return None


def _file(env: Mapping[str, str]) -> pathlib.Path | None:
    named = env.get("REGISTRY_AUTH_FILE")
    if named:
        path = pathlib.Path(named)
        if not path.is_file():
            raise ImageError(f"REGISTRY_AUTH_FILE names {path}, which is no file")
        return path
    directory = env.get("DOCKER_CONFIG")
    home = env.get("HOME")
    if not directory and not home:
        return None
    path = pathlib.Path(directory or os.path.join(str(home), ".docker")) / "config.json"
    return path if path.is_file() else None


def _read(path: pathlib.Path) -> dict[str, Any]:
    # The cause is cut off: an error of the JSON reader holds the document, and that holds secrets.
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise ImageError(f"{path}: {error.strerror}") from None
    except ValueError:
        raise ImageError(f"{path} is not JSON; log in again") from None
    if not isinstance(content, dict):
        raise ImageError(f"{path} is not an object; log in again")
    return content


def _table(config: Mapping[str, Any], name: str, path: pathlib.Path) -> dict[str, Any]:
    table = config.get(name)
    if table is None:
        return {}
    if not isinstance(table, dict):
        raise ImageError(f"{path}: {name} is not an object")
    return table


def _key(key: str) -> str:
    """Old files have a URL, such as https://HOST/v1/, where new ones have the host."""
    _, scheme, rest = key.partition("://")
    return rest.partition("/")[0] if scheme else key


def _keys(host: str, repository: str) -> Iterator[str]:
    parts = repository.split("/")
    for length in range(len(parts), 0, -1):
        yield "/".join((host, *parts[:length]))
    yield host


def _decode(entry: Any, key: str, path: pathlib.Path) -> Credentials | None:
    if not isinstance(entry, dict):
        raise ImageError(f"{path}: the entry of {key} is not an object")
    if entry.get("identitytoken"):
        return Credentials("", str(entry["identitytoken"]), is_token=True)
    if entry.get("auth"):
        try:
            text = base64.b64decode(str(entry["auth"]), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            text = ""
        username, colon, secret = text.partition(":")
        if not colon:
            raise ImageError(f"{path}: the entry of {key} cannot be decoded; log in again")
        return Credentials(username, secret.rstrip("\0"))
    if entry.get("username") and entry.get("password"):
        return Credentials(str(entry["username"]), str(entry["password"]))
    return None  # docker leaves an empty entry where a helper has the secret


def _ask(helper: str, host: str, path: pathlib.Path) -> Credentials | None:
    if not _HELPER.fullmatch(helper):
        raise ImageError(f"{path}: {helper!r} is no name of a credential helper")
    program = f"docker-credential-{helper}"
    try:
        done = subprocess.run(
            [program, "get"], input=host.encode(), capture_output=True, check=False
        )
    except OSError as error:
        raise ImageError(f"{path} wants {program}, which cannot run: {error.strerror}") from error
    if done.returncode:
        # The protocol has no code for this answer, only these words.
        if b"credentials not found" in done.stdout + done.stderr:
            return None
        raise ImageError(f"{program} failed for {host}: exit code {done.returncode}")
    try:
        answer = json.loads(done.stdout)
        username, secret = str(answer["Username"]), str(answer["Secret"])
    except (ValueError, KeyError, TypeError):
        raise ImageError(f"{program} gave no credentials for {host}") from None
    if not secret:
        return None
    if username == _TOKEN_USER:
        return Credentials("", secret, is_token=True)
    return Credentials(username, secret)
