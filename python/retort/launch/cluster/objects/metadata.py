"""What the server alone writes of an object: its identity, its age, how often it was asked to change."""

import re
import secrets
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from retort.launch.cluster.kinds.errors import (
    MODIFIED,
    ApiError,
    Cause,
    JSONObject,
    bad_request,
    conflict,
    invalid,
    invalid_value,
    required,
)
from retort.launch.cluster.kinds.kind import Kind
from retort.launch.cluster.kinds.names import DNS_1035, DNS_LABEL, DNS_SUBDOMAIN, name_causes

_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
_SUFFIX = 5
_LONGEST = 253
_OURS = (
    *("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"),
    *("generation", "selfLink", "generateName"),
)
"""Fields of `metadata` that stay as they are, whatever a writer sends."""

_NAMES: Mapping[str, tuple[tuple[str, str], int]] = {
    "services": (DNS_1035, 63),
    "namespaces": (DNS_LABEL, 63),
}
"""Of each resource the names that are possible, and their length; others are as domains."""
_LABEL_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")


def now() -> str:
    """The time, as the API writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def new_metadata(kind: Kind, namespace: str, item: JSONObject) -> dict[str, Any]:
    """The `metadata` of an object that is made.

    Raises:
        ApiError: its name or labels are not possible (422), or it says what only the server may (400).
    """
    given = dict(item.get("metadata") or {})
    if given.get("resourceVersion"):
        raise bad_request("resourceVersion should not be set on objects to be created")
    for field in ("selfLink", "deletionTimestamp", "deletionGracePeriodSeconds"):
        given.pop(field, None)
    if not given.get("name") and given.get("generateName"):
        suffix = "".join(secrets.choice(_LETTERS) for _ in range(_SUFFIX))
        given["name"] = str(given["generateName"])[: 63 - _SUFFIX] + suffix
    if kind.namespaced:
        given["namespace"] = namespace
    else:
        given.pop("namespace", None)
    check_metadata(kind, given)
    given["uid"] = str(uuid.uuid4())
    given["creationTimestamp"] = now()
    if kind.has_generation:
        given["generation"] = 1
    else:
        given.pop("generation", None)
    return given


def kept_metadata(kind: Kind, before: JSONObject, after: JSONObject) -> dict[str, Any]:
    """The `metadata` of an object that is changed.

    Raises:
        ApiError: it was written by another meanwhile (409), or labels are not possible (422).
    """
    was, given = before["metadata"], dict(after.get("metadata") or {})
    name = was["name"]
    version, uid = given.get("resourceVersion"), given.get("uid")
    if version and version != was["resourceVersion"]:
        raise conflict(kind, name, MODIFIED)
    if uid and uid != was["uid"]:
        why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {was['uid']}"
        raise conflict(kind, name, why)
    for field in (*_OURS, "name", "namespace", "resourceVersion"):
        given.pop(field, None)
        if field in was:
            given[field] = was[field]
    for field in ("labels", "annotations", "finalizers", "ownerReferences"):
        if not given.get(field):
            given.pop(field, None)
    added = set(given.get("finalizers") or ()) - set(was.get("finalizers") or ())
    if "deletionTimestamp" in was and added:
        why = "no new finalizers can be added if the object is being deleted, found new finalizers "
        listed = ", ".join(f'"{one}"' for one in sorted(added))
        raise invalid(kind, name, [Cause("metadata.finalizers", f"Forbidden: {why}[{listed}]")])
    check_metadata(kind, given)
    return given


def check_metadata(kind: Kind, metadata: Mapping[str, Any]) -> None:
    """Refuse a name or labels that are not possible.

    Raises:
        ApiError: naming all that is wrong (422).
    """
    name = metadata.get("name") or ""
    causes = []
    if not name:
        causes.append(required("metadata.name", "name or generateName is required"))
    else:
        rule, most = _NAMES.get(kind.storage, (DNS_SUBDOMAIN, _LONGEST))
        causes += name_causes("metadata.name", name, rule, most)
    for key, value in (metadata.get("labels") or {}).items():
        causes += _label_causes("metadata.labels", key, value)
    for number, owner in enumerate(metadata.get("ownerReferences") or ()):
        for field in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(field):
                causes.append(required(f"metadata.ownerReferences[{number}].{field}"))
    if causes:
        raise invalid(kind, name, causes)


def _label_causes(field: str, key: str, value: str) -> list[Cause]:
    causes = []
    prefix, _, name = key.rpartition("/")
    if not _LABEL_NAME.fullmatch(name) or len(name) > 63 or len(prefix) > _LONGEST:
        why = "name part must consist of alphanumeric characters, '-', '_' or '.', 63 at most"
        causes.append(invalid_value(field, key, why))
    if value and (not _LABEL_NAME.fullmatch(value) or len(value) > 63):
        why = (
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or "
            "'.', and must start and end with an alphanumeric character, 63 at most"
        )
        causes.append(invalid_value(field, value, why))
    return causes


def check_preconditions(kind: Kind, item: JSONObject, wanted: Mapping[str, Any]) -> None:
    """Refuse where an object is not the one, or not as new, as a request says.

    Raises:
        ApiError: naming both (409).
    """
    metadata = item["metadata"]
    for field, words in (("uid", "UID"), ("resourceVersion", "ResourceVersion")):
        value = wanted.get(field)
        if value and value != metadata[field]:
            raise _precondition(kind, metadata["name"], words, value, metadata[field])


def _precondition(kind: Kind, name: str, words: str, wanted: str, there: str) -> ApiError:
    why = f"Precondition failed: {words} in precondition: {wanted}, {words} in object meta: {there}"
    return conflict(kind, name, why)
