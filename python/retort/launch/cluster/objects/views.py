"""One object under two names: events of the core and of `events.k8s.io` are the same."""

from collections.abc import Mapping

from retort.launch.cluster.kinds.errors import JSONObject
from retort.launch.cluster.kinds.kind import Kind
from retort.launch.cluster.kinds.table import EVENT, NEW_EVENT

_RENAMED: Mapping[str, str] = {
    "involvedObject": "regarding",
    "message": "note",
    "reportingComponent": "reportingController",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
}
"""Fields of a core event, and what `events.k8s.io` calls them."""
_BACK = {new: old for old, new in _RENAMED.items()}


def shown_as(kind: Kind, item: JSONObject) -> JSONObject:
    """A kept object as its kind shows it."""
    if kind == NEW_EVENT:
        return _renamed(item, _RENAMED) | {"apiVersion": kind.api_version}
    return item


def kept_as(kind: Kind, item: JSONObject) -> JSONObject:
    """An object of a kind as it is kept."""
    if kind == NEW_EVENT:
        return _renamed(item, _BACK) | {"apiVersion": EVENT.api_version}
    return item


def _renamed(item: JSONObject, names: Mapping[str, str]) -> JSONObject:
    return {names.get(key, key): value for key, value in item.items()}
