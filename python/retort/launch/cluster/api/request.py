"""What a request asks for: which objects, in which form, with which options."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Literal

import orjson
import yaml

from retort.launch.cluster.kinds.errors import (
    ApiError,
    JSONObject,
    bad_request,
    unsupported_media_type,
)
from retort.launch.cluster.kinds.kind import Kind
from retort.launch.cluster.kinds.table import kind_at
from retort.launch.cluster.objects.checking import Validation
from retort.launch.cluster.objects.reading import Page
from retort.launch.cluster.objects.selectors import Selection

MOST = 3 << 20
"""Bytes of a body; a cluster takes as many."""
JSON_TYPE = "application/json"
YAML_TYPES = ("application/yaml", "application/apply-patch+yaml")
Words = Literal["objects", "table", "metadata"]
_YES = ("1", "t", "true")
_NO = ("", "0", "f", "false")


class _Loader(yaml.CSafeLoader):
    """YAML as Kubernetes reads it: a time is text."""


_Loader.yaml_implicit_resolvers = {
    letter: [one for one in listed if one[0] != "tag:yaml.org,2002:timestamp"]
    for letter, listed in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


@dataclass(frozen=True)
class Form:
    """How objects are sent.

    Attributes:
        words: as they are, as the rows of a table, or their metadata alone.
        included: what of each object goes with its row: Metadata, Object, None.
    """

    words: Words = "objects"
    included: str = "Metadata"


@dataclass(frozen=True)
class Target:
    """Which objects a URL names.

    Attributes:
        name: of one object; empty for all of the namespace, or of all namespaces.
        subresource: of that object; empty for itself.
    """

    kind: Kind
    namespace: str
    name: str
    subresource: str


def target_of(path: str) -> Target | None:
    """What a path such as `/apis/apps/v1/namespaces/default/deployments/web/status` names; None for nothing."""
    steps = path.strip("/").split("/")
    if steps[0] == "api":
        group, version, rest = "", steps[1] if len(steps) > 1 else "", steps[2:]
    elif steps[0] == "apis" and len(steps) > 2:
        group, version, rest = steps[1], steps[2], steps[3:]
    else:
        return None
    if not rest:
        return None
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2 and rest[2] not in ("status", "finalize"):
        namespace, rest = rest[1], rest[2:]
    kind = kind_at(group, version, rest[0])
    if kind is None or len(rest) > 3 or (namespace and not kind.namespaced):
        return None
    name, subresource = (*rest[1:], "", "")[:2]
    if kind.namespaced and name and not namespace:
        return None
    return Target(kind, namespace, name, subresource)


@dataclass(frozen=True)
class Options:
    """The words after the question mark."""

    query: Mapping[str, str]

    def flag(self, name: str) -> bool:
        """Raises:
        ApiError: it is neither true nor false (400).
        """
        text = self.query.get(name, "").lower()
        if text in _YES:
            return True
        if text in _NO:
            return False
        raise bad_request(f"{name}: {text!r} is neither true nor false")

    def number(self, name: str) -> int | None:
        """Raises:
        ApiError: it is none, or negative (400).
        """
        text = self.query.get(name, "")
        if not text:
            return None
        if not (text.isascii() and text.isdigit() and len(text) <= 18):
            raise bad_request(f"{name}: {text!r} is not a whole number from 0 on")
        return int(text)

    def selection(self, target: Target) -> Selection:
        """Which of the objects are wanted."""
        fields = self.query.get("fieldSelector", "")
        if target.name:
            fields = ",".join(filter(None, (fields, f"metadata.name={target.name}")))
        return Selection(target.namespace, self.query.get("labelSelector", ""), fields)

    def page(self) -> Page:
        """Which part of a list, and of when.

        Raises:
            ApiError: the options contradict each other (400).
        """
        revision, match = self.number("resourceVersion"), self.query.get("resourceVersionMatch", "")
        token = self.query.get("continue", "")
        if match and self.query.get("resourceVersion") is None:
            raise bad_request(
                "resourceVersionMatch is forbidden unless resourceVersion is provided"
            )
        if match not in ("", "Exact", "NotOlderThan"):
            raise bad_request(f"resourceVersionMatch: {match!r} is neither Exact nor NotOlderThan")
        if token and revision:
            raise bad_request("specifying resource version is not allowed when using continue")
        limit = self.number("limit") or 0
        exact = revision and (match == "Exact" or (limit and not match))
        return Page(limit, token, revision if exact else None)

    @property
    def dry_run(self) -> bool:
        """Raises:
        ApiError: it is something else than All (400).
        """
        word = self.query.get("dryRun", "")
        if word not in ("", "All"):
            raise bad_request(f"dryRun: {word!r}: All is supported")
        return bool(word)

    @property
    def validation(self) -> Validation:
        """Raises:
        ApiError: it is none that there is (400).
        """
        word = self.query.get("fieldValidation", "") or "Warn"
        if word == "Ignore":
            return "Ignore"
        if word == "Warn":
            return "Warn"
        if word == "Strict":
            return "Strict"
        raise bad_request(f"fieldValidation: {word!r} is none of Ignore, Warn, Strict")

    def manager(self, agent: str) -> str:
        """Who writes: as the request says, or else the program that sent it."""
        return self.query.get("fieldManager", "") or agent.partition("/")[0][:128] or "unknown"


def form_of(accept: str, included: str) -> Form:
    """In which form an answer is wanted: the first that we have.

    Raises:
        ApiError: none of them (406).
    """
    included = included or "Metadata"
    for one in accept.split(",") if accept else ("*/*",):
        media, *parameters = (part.strip() for part in one.split(";"))
        if media not in (JSON_TYPE, "*/*", "application/*"):
            continue
        words = dict(part.partition("=")[::2] for part in parameters)
        if words.get("as") in ("Table",) and words.get("v") == "v1":
            return Form("table", included)
        if words.get("as") in ("PartialObjectMetadata", "PartialObjectMetadataList"):
            return Form("metadata")
        if "as" not in words:
            return Form()
    raise ApiError(
        HTTPStatus.NOT_ACCEPTABLE,
        "NotAcceptable",
        f"only the following media types are accepted: {JSON_TYPE}",
    )


def media_type(header: str) -> str:
    """A content type without its parameters."""
    return header.partition(";")[0].strip().lower()


def read_body(body: bytes, header: str, accepted: Sequence[str]) -> Any:
    """A body, from JSON or from YAML.

    Raises:
        ApiError: it is in another format (415), or cannot be read (400).
    """
    media = media_type(header) or JSON_TYPE
    if media not in accepted:
        raise unsupported_media_type(media, accepted)
    try:
        if media in YAML_TYPES and not body.lstrip().startswith(b"{"):
            return yaml.load(body, _Loader)
        return orjson.loads(body)
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise bad_request(f"error decoding the body: {error}") from error


def read_object(body: bytes, header: str, accepted: Sequence[str]) -> JSONObject:
    """As `read_body`, of an object.

    Raises:
        ApiError: as `read_body`, or it is no object (400).
    """
    found = read_body(body, header, accepted)
    if not isinstance(found, dict):
        raise bad_request("the body is not an object")
    metadata = found.get("metadata")
    if metadata is not None and not isinstance(metadata, dict):
        raise bad_request("metadata: is not an object")
    return found
