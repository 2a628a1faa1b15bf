"""Parts of objects that all controllers read and write."""

import copy
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from retort.launch.cluster.kinds.errors import JSONObject
from retort.launch.cluster.kinds.kind import Kind

FINISHED = ("Succeeded", "Failed")
"""Phases of a pod that has ended."""
DEADLINE = "retort/deadline"
"""The annotation by which a test has `activeDeadlineSeconds` pass: `passed`."""


class ObjectKey(NamedTuple):
    """Which object of a kind."""

    namespace: str
    name: str


def key_of(item: JSONObject) -> ObjectKey:
    """Which object it is."""
    metadata = item["metadata"]
    return ObjectKey(metadata.get("namespace", ""), metadata["name"])


def name_of(item: JSONObject) -> str:
    return str(item["metadata"]["name"])


def spec_of(item: JSONObject) -> dict[str, Any]:
    return dict(item.get("spec") or {})


def status_of(item: JSONObject) -> dict[str, Any]:
    return dict(item.get("status") or {})


def labels_of(item: JSONObject) -> dict[str, str]:
    return dict(item["metadata"].get("labels") or {})


def annotations_of(item: JSONObject) -> dict[str, str]:
    return dict(item["metadata"].get("annotations") or {})


def is_going(item: JSONObject) -> bool:
    """Whether it is being deleted."""
    return "deletionTimestamp" in item["metadata"]


def phase_of(pod: JSONObject) -> str:
    return str(status_of(pod).get("phase", "Pending"))


def is_active(pod: JSONObject) -> bool:
    """Whether a pod has neither ended nor is being deleted."""
    return phase_of(pod) not in FINISHED and not is_going(pod)


def owner_reference(kind: Kind, owner: JSONObject) -> JSONObject:
    """What an object says of the one that makes and controls it."""
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def controller_of(item: JSONObject) -> dict[str, Any] | None:
    """The reference to the one that controls an object, if one does."""
    listed = item["metadata"].get("ownerReferences") or ()
    return next((one for one in listed if one.get("controller")), None)


def is_controlled_by(item: JSONObject, owner: JSONObject) -> bool:
    reference = controller_of(item)
    return reference is not None and reference["uid"] == owner["metadata"]["uid"]


def stamp(moment: datetime) -> str:
    """A time as the API writes it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def moment(text: str) -> datetime:
    """A time that the API wrote."""
    return datetime.fromisoformat(text)


def earliest(moments: Iterable[datetime | None]) -> datetime | None:
    """The first of those that there are."""
    return min((one for one in moments if one is not None), default=None)


def is_true(status: Mapping[str, Any], condition: str) -> bool:
    """Whether a status has a condition that holds."""
    found = condition_of(status, condition)
    return found is not None and found.get("status") == "True"


def condition_of(status: Mapping[str, Any], condition: str) -> dict[str, Any] | None:
    listed = status.get("conditions") or ()
    return next((dict(one) for one in listed if one.get("type") == condition), None)


def set_condition(status: dict[str, Any], condition: Mapping[str, Any], now: datetime) -> bool:
    """Have a status say a condition, in its place; `lastTransitionTime` is of the last change of `status`.

    Returns:
        Whether anything has changed.
    """
    listed = list(status.get("conditions") or ())
    new = dict(condition)
    for number, old in enumerate(listed):
        if old.get("type") != new["type"]:
            continue
        same = old.get("status") == new["status"]
        new["lastTransitionTime"] = old.get("lastTransitionTime") if same else stamp(now)
        changed = any(old.get(key) != value for key, value in new.items())
        if changed:
            listed[number] = {**old, **new}
            status["conditions"] = listed
        return changed
    new["lastTransitionTime"] = stamp(now)
    status["conditions"] = [*listed, new]
    return True


def template_copy(template: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Metadata and specification of a pod from a template, to be altered."""
    metadata = copy.deepcopy(dict(template.get("metadata") or {}))
    kept = {
        key: metadata[key] for key in ("labels", "annotations", "finalizers") if key in metadata
    }
    return kept, copy.deepcopy(dict(template.get("spec") or {}))


def exit_code(pod: JSONObject, container: str) -> int | None:
    """With what a container of a pod has ended; None if that is not known."""
    for one in status_of(pod).get("containerStatuses") or ():
        ended = (one.get("state") or {}).get("terminated")
        if one.get("name") == container and ended is not None:
            return int(ended.get("exitCode", 0))
    return None
