"""A request for objects, as it is read."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from retort.launch.cluster.api.request import (
    JSON_TYPE,
    Form,
    Options,
    Target,
    form_of,
    media_type,
    read_body,
    read_object,
)
from retort.launch.cluster.kinds.errors import (
    JSONObject,
    unsupported_media_type,
)
from retort.launch.cluster.kinds.fields import struct
from retort.launch.cluster.kinds.kind import Kind
from retort.launch.cluster.objects.deletion import (
    Deletion,
    deletion_of,
)
from retort.launch.cluster.objects.writing import Writing
from retort.launch.cluster.patches.json_patches import json_patch, merge_patch
from retort.launch.cluster.patches.strategic import strategic_merge
from retort.launch.cluster.protobuf.protobuf import PROTOBUF, read_protobuf

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
_BODIES = (JSON_TYPE, "application/yaml")


@dataclass
class Asked:
    """A request for objects, read as far as its body."""

    target: Target
    options: Options
    body: bytes
    content_type: str
    accept: str
    agent: str
    warnings: list[str] = field(default_factory=list)

    @property
    def form(self) -> Form:
        """In which objects are wanted."""
        return form_of(self.accept, self.options.query.get("includeObject", ""))

    def writing(self) -> Writing:
        """How it wants to write."""
        options = self.options
        return Writing(
            options.manager(self.agent),
            self.target.subresource,
            options.dry_run,
            options.flag("force"),
            options.validation,
            self.warnings.append,
        )


def object_of(asked: Asked) -> JSONObject:
    """The object that a request sends.

    Raises:
        ApiError: it sends none (400), or in another format (415).
    """
    kind = asked.target.kind
    if media_type(asked.content_type) == PROTOBUF and not kind.is_custom:
        return read_protobuf(asked.body, kind)
    return read_object(asked.body, asked.content_type, _BODIES)


def change_of(kind: Kind, body: bytes, media: str) -> Callable[[JSONObject], JSONObject]:
    """What a patch does.

    Raises:
        ApiError: it is in none of the formats (415), or cannot be read (400).
    """
    known = (JSON_PATCH, MERGE_PATCH, *(() if kind.is_custom else (STRATEGIC_PATCH,)))
    if media not in known:
        raise unsupported_media_type(media, (*known, APPLY_PATCH))
    if media == JSON_PATCH:
        operations: Any = read_body(body, media, known)
        return lambda item: json_patch(item, operations)
    patch = read_object(body, media, known)
    if media == MERGE_PATCH:
        return lambda item: dict(merge_patch(item, patch))
    return lambda item: strategic_merge(item, patch, struct(kind.type_name))


def deletion_in(asked: Asked) -> Deletion:
    options = asked.options
    given = read_object(asked.body, asked.content_type, _BODIES) if asked.body.strip() else {}
    query = options.query
    if "propagationPolicy" in query:
        given.setdefault("propagationPolicy", query["propagationPolicy"])
    if "gracePeriodSeconds" in query:
        given.setdefault("gracePeriodSeconds", options.number("gracePeriodSeconds"))
    found = deletion_of(given)
    return replace(found, dry_run=found.dry_run or options.dry_run)
