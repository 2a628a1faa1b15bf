"""Events: what has happened to an object, as `kubectl describe` shows it."""

import secrets
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from retort.launch.cluster.controllers.frame.items import key_of, stamp
from retort.launch.cluster.kinds.errors import ApiError, JSONObject
from retort.launch.cluster.kinds.kind import Kind
from retort.launch.cluster.kinds.table import EVENT
from retort.launch.cluster.objects.registry import Registry

_REMEMBERED = 4096
_LONGEST = 1024
"""Letters of a message, as clients of Kubernetes cut it."""


@dataclass(frozen=True)
class Happening:
    """Something that has happened to an object."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


class Recorder:
    """Writes events in the name of one component; any thread may have it do so. What happens again is counted in
    the same event.

    Args:
        component: as `kubectl describe` names it under From.
    """

    def __init__(self, registry: Registry, component: str) -> None:
        self.component = component
        self._registry = registry
        self._written: OrderedDict[tuple[str, Happening], str] = OrderedDict()

    def record(self, kind: Kind, about: JSONObject, happening: Happening) -> None:
        """Write an event. One that cannot be, in a namespace that is going, is left out.

        Raises:
            StorageError: the disk does not take it.
        """
        namespace, name = key_of(about)
        namespace = namespace or "default"
        known = (about["metadata"]["uid"], happening)
        with self._registry.store.lock, suppress(ApiError):
            written = self._written.get(known)
            if written is not None and self._registry.find(EVENT, namespace, written) is not None:
                self._registry.modify(EVENT, namespace, written, _again)
                return
            item = self._event(kind, about, happening, f"{name}.{secrets.token_hex(8)}")
            self._registry.create(EVENT, namespace, item)
            self._written[known] = item["metadata"]["name"]
            while len(self._written) > _REMEMBERED:
                self._written.popitem(last=False)

    def _event(self, kind: Kind, about: JSONObject, happening: Happening, name: str) -> JSONObject:
        metadata, now = about["metadata"], stamp(datetime.now(UTC))
        return {
            "metadata": {"name": name},
            "involvedObject": {
                "apiVersion": kind.api_version,
                "kind": kind.kind,
                "name": metadata["name"],
                **({"namespace": metadata["namespace"]} if kind.namespaced else {}),
                "uid": metadata["uid"],
                "resourceVersion": metadata.get("resourceVersion", ""),
            },
            "type": happening.type,
            "reason": happening.reason,
            "message": happening.message[:_LONGEST],
            "source": {"component": self.component},
            "reportingComponent": self.component,
            "reportingInstance": "",
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }


def _again(event: JSONObject) -> JSONObject:
    event["count"] = event.get("count", 1) + 1
    event["lastTimestamp"] = stamp(datetime.now(UTC))
    return event
