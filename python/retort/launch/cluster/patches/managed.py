"""Who owns which fields of an object: `metadata.managedFields`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from retort.launch.cluster.kinds.errors import JSONObject
from retort.launch.cluster.kinds.fields import struct
from retort.launch.cluster.kinds.kind import Kind
from retort.launch.cluster.patches.field_sets import Fields, Path, compare, decode, encode

_METADATA = (
    *("name", "namespace", "creationTimestamp", "selfLink", "uid", "generation"),
    *("managedFields", "resourceVersion", "generateName", "deletionTimestamp"),
    "deletionGracePeriodSeconds",
)
_UNOWNED: frozenset[Path] = frozenset(
    {
        *((("f", one),) for one in ("apiVersion", "kind", "metadata")),
        *((("f", "metadata"), ("f", one)) for one in _METADATA),
    }
)
"""Fields that nobody owns."""


class Manager(NamedTuple):
    """Whoever owns fields, and by which kind of write."""

    name: str
    operation: str
    api_version: str
    subresource: str = ""


@dataclass(frozen=True)
class Writer:
    """Whoever writes now, where and when."""

    name: str
    subresource: str
    time: str


@dataclass(frozen=True)
class Owned:
    """What a manager owns, and since when."""

    fields: Fields
    time: str


def owners(item: Mapping[str, Any]) -> dict[Manager, Owned]:
    """What `metadata.managedFields` of an object says.

    Raises:
        ApiError: it cannot be read (400).
    """
    found = {}
    for entry in (item.get("metadata") or {}).get("managedFields") or ():
        if not entry.get("operation"):
            continue
        manager = Manager(
            *(entry.get("manager", ""), entry["operation"], entry.get("apiVersion", "")),
            entry.get("subresource", ""),
        )
        fields = frozenset(decode(entry.get("fieldsV1") or {}))
        found[manager] = Owned(fields, entry.get("time", ""))
    return found


def write_owners(item: JSONObject, managers: Mapping[Manager, Owned]) -> None:
    """Have `metadata.managedFields` say who owns what; whoever owns nothing is left out."""
    listed = [
        {
            "manager": one.name,
            "operation": one.operation,
            "apiVersion": one.api_version,
            "time": owned.time,
            "fieldsType": "FieldsV1",
            "fieldsV1": encode(owned.fields),
            **({"subresource": one.subresource} if one.subresource else {}),
        }
        for one, owned in sorted(
            managers.items(), key=lambda pair: (pair[0].operation, pair[1].time, pair[0])
        )
        if owned.fields
    ]
    if listed:
        item["metadata"]["managedFields"] = listed
    else:
        item["metadata"].pop("managedFields", None)


def ownable(fields: Fields) -> Fields:
    """Those of some fields that anybody may own."""
    return fields - _UNOWNED


def track_update(kind: Kind, before: JSONObject, after: JSONObject, writer: Writer) -> None:
    """Give a writer the fields that it has changed, and take them from all others.

    Args:
        before: empty where the object is made.
        after: what is about to be written; its `metadata.managedFields` is set.
    """
    given = after["metadata"].get("managedFields")
    # A list of one empty entry is how a client asks for all to be forgotten; no list asks for nothing.
    managers = owners(after) if given else owners(before)
    found = compare(before, after, struct(kind.type_name))
    changed, removed = _written(kind, ownable(found.changed), writer.subresource), found.removed
    me = Manager(writer.name, "Update", kind.api_version, writer.subresource)
    left = {
        one: Owned(owned.fields - removed - (changed if one != me else frozenset()), owned.time)
        for one, owned in managers.items()
    }
    if changed:
        mine = left.get(me)
        left[me] = Owned((mine.fields if mine else frozenset()) | changed, writer.time)
    write_owners(after, left)


def _written(kind: Kind, fields: Fields, subresource: str) -> Fields:
    """Those of some fields that are written where a writer has written."""
    if not kind.has_status:
        return fields
    is_status = subresource == "status"
    return frozenset(path for path in fields if (path[0] == ("f", "status")) == is_status)


def without_times(item: Mapping[str, Any]) -> JSONObject:
    """An object without the times at which managers have written, to tell whether anything changed."""
    metadata = dict(item["metadata"])
    metadata["managedFields"] = [
        {key: value for key, value in entry.items() if key != "time"}
        for entry in metadata.get("managedFields") or ()
    ]
    return {**item, "metadata": metadata}
