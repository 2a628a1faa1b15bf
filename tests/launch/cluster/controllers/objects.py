"""Objects as a registry keeps them, for functions that need none, and what is asked of them."""

import copy
import itertools
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from retort.launch.cluster.controllers.frame.outcome import Outcome
from retort.launch.cluster.kinds.errors import JSONObject

NOW = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)
_NUMBERS = itertools.count(1)


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def kept(item: JSONObject, namespace: str = "default") -> JSONObject:
    """An object with what a server gives it."""
    item = copy.deepcopy(item)
    metadata = item.setdefault("metadata", {})
    number = next(_NUMBERS)
    metadata.setdefault("name", f"made-{number}")
    metadata |= {
        "namespace": namespace,
        "uid": f"uid-{number}",
        "resourceVersion": str(number),
        "creationTimestamp": "2026-01-31T12:00:00Z",
    }
    return item


def made(outcome: Outcome, kind: str) -> list[JSONObject]:
    """What of a kind an outcome makes."""
    return [one.item for one in outcome.creations if one.kind.kind == kind]


def removed(outcome: Outcome, kind: str) -> list[str]:
    """Names of what of a kind an outcome deletes."""
    return sorted(one.item["metadata"]["name"] for one in outcome.removals if one.kind.kind == kind)


def conditions(item_or_status: Any) -> dict[str, tuple[str, str]]:
    """Of a status, each condition's status and reason."""
    status = item_or_status.get("status", item_or_status)
    return {
        one["type"]: (one["status"], one.get("reason", ""))
        for one in status.get("conditions") or ()
    }


def true(item_or_status: Any) -> set[str]:
    """The conditions that hold."""
    return {name for name, (status, _) in conditions(item_or_status).items() if status == "True"}


def reasons(outcome: Outcome) -> list[str]:
    """Of its events."""
    return [one.reason for one in outcome.events]


def ended(code: int, container: str = "pytorch") -> JSONObject:
    """The status of a pod whose container has ended."""
    state = {"terminated": {"exitCode": code, "reason": "Error" if code else "Completed"}}
    return {
        "phase": "Failed" if code else "Succeeded",
        "containerStatuses": [{"name": container, "restartCount": 0, "state": state}],
    }


def running(restarts: int = 0, container: str = "pytorch") -> JSONObject:
    """The status of a pod that runs and is ready."""
    state: JSONObject = {"running": {"startedAt": "2026-01-31T12:00:00Z"}}
    return {
        "phase": "Running",
        "conditions": [{"type": "Ready", "status": "True"}],
        "containerStatuses": [
            {"name": container, "restartCount": restarts, "ready": True, "state": state}
        ],
    }


def environment(pod: JSONObject, container: int = 0) -> dict[str, str]:
    listed: Iterable[JSONObject] = pod["spec"]["containers"][container].get("env") or ()
    return {one["name"]: one["value"] for one in listed}
