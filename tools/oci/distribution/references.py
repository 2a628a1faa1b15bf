"""Names of images in registries: `HOST[:PORT]/repository[:tag][@sha256:…]`.

Follows the OCI Distribution Specification 1.1 ("Pulling manifests") for repositories, tags and digests. The host is
never guessed: a name without one is refused.
"""

import ipaddress
import re
from dataclasses import dataclass

from tools.oci.errors import ImageError

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_HOST = re.compile(
    rf"(?P<name>{_LABEL}(?:\.{_LABEL})*|\[(?P<v6>[0-9a-fA-F:.]+)\])(?::(?P<port>[0-9]{{1,5}}))?"
)
_LONGEST = 255  # what clients accept for host and repository together


@dataclass(frozen=True)
class Reference:
    """A parsed name.

    Attributes:
        host: with its port, if one was given; an IPv6 address is in brackets.
        tag, digest: None where the name has none.
    """

    host: str
    repository: str
    tag: str | None = None
    digest: str | None = None

    @property
    def name(self) -> str:
        """`HOST/repository`, without tag and digest."""
        return f"{self.host}/{self.repository}"

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.name}{tag}{digest}"


def parse(text: str) -> Reference:
    """Reads a name.

    Raises:
        ImageError: a part is missing or breaks the grammar; the message names the part.
    """
    host, slash, rest = text.partition("/")
    if not slash or not _names_a_host(host):
        raise ImageError(f"{text!r} has no registry: HOST[:PORT]/repository is wanted")
    _check_host(text, host)
    rest, at, digest = rest.partition("@")
    repository, colon, tag = rest.partition(":")
    if not _REPOSITORY.fullmatch(repository):
        raise ImageError(
            f"{text!r}: {repository!r} is no repository: lower-case letters, digits and single"
            " separators (. _ __ -) between them, parts joined by /"
        )
    if len(host) + 1 + len(repository) > _LONGEST:
        raise ImageError(f"{text!r}: host and repository are longer than {_LONGEST} characters")
    if colon:
        check_tag(tag)
    if at and not _DIGEST.fullmatch(digest):
        raise ImageError(f"{text!r}: {digest!r} is no digest: sha256: and 64 hexadecimal digits")
    return Reference(host, repository, tag if colon else None, digest if at else None)


def parse_repository(text: str) -> Reference:
    """Reads `HOST[:PORT]/repository`.

    Raises:
        ImageError: as for `parse`, or there is a tag or a digest.
    """
    reference = parse(text)
    if reference.tag or reference.digest:
        raise ImageError(f"{text!r}: a repository is wanted, without tag and digest")
    return reference


def check_tag(tag: str) -> str:
    """The tag itself.

    Raises:
        ImageError: it is none.
    """
    if not _TAG.fullmatch(tag):
        raise ImageError(f"{tag!r} is no tag: at most 128 letters, digits, and . _ - (not first)")
    return tag


def is_loopback(host: str) -> bool:
    """Whether a `HOST[:PORT]` is this machine, which plain HTTP may reach without being asked."""
    matched = _HOST.fullmatch(host)
    if not matched:
        return False
    name = (matched["v6"] or matched["name"]).lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _names_a_host(first: str) -> bool:
    return "." in first or ":" in first or first == "localhost"


def _check_host(text: str, host: str) -> None:
    matched = _HOST.fullmatch(host)
    if not matched:
        raise ImageError(f"{text!r}: {host!r} is no host")
    if matched["port"] is not None and not 0 < int(matched["port"]) < 1 << 16:
        raise ImageError(f"{text!r}: {matched['port']} is no port")
    if matched["v6"] is not None:
        try:
            ipaddress.IPv6Address(matched["v6"])
        except ValueError as error:
            raise ImageError(f"{text!r}: {host!r} is no host") from error
