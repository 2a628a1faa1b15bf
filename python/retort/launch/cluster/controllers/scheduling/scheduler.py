"""The scheduler: gives pods the node, or says why it cannot
(https://kubernetes.io/docs/concepts/scheduling-eviction/kube-scheduler/)."""

from collections.abc import Mapping
from datetime import UTC, datetime

from retort.launch.cluster.controllers.frame.events import Happening, Recorder
from retort.launch.cluster.controllers.frame.items import (
    ObjectKey,
    condition_of,
    key_of,
    set_condition,
    spec_of,
)
from retort.launch.cluster.controllers.frame.loop import Mapped
from retort.launch.cluster.controllers.scheduling.node import Node, added, requested
from retort.launch.cluster.controllers.scheduling.placing import (
    SCHEDULER,
    obstacle,
    used,
    waiting,
)
from retort.launch.cluster.kinds.errors import JSONObject
from retort.launch.cluster.kinds.kind import Kind
from retort.launch.cluster.kinds.table import POD, kind_of
from retort.launch.cluster.objects.registry import Registry
from retort.launch.cluster.objects.selectors import Selection

CLAIM = kind_of("v1", "PersistentVolumeClaim")
_ALL = ObjectKey("", "")
"""Pods want the same machine: they are looked at together."""


class Scheduler:
    """Acts on pods that have no node."""

    def __init__(self, registry: Registry, node: Node) -> None:
        self._registry = registry
        self._node = node
        self._recorder = Recorder(registry, SCHEDULER)

    @property
    def watched(self) -> Mapping[Kind, Mapped]:
        return {POD: lambda _: (_ALL,), CLAIM: lambda _: (_ALL,)}

    def reconcile(self, key: ObjectKey) -> datetime | None:
        pods = self._registry.list(POD).items
        taken = used(self._node, pods)
        claims: dict[str, dict[str, JSONObject]] = {}
        for pod in waiting(pods):
            namespace = key_of(pod).namespace
            if namespace not in claims:
                found = self._registry.list(CLAIM, Selection(namespace)).items
                claims[namespace] = {one["metadata"]["name"]: one for one in found}
            if spec_of(pod).get("schedulingGates"):
                self._refuse(
                    pod,
                    "SchedulingGated",
                    "Scheduling is blocked due to non-empty scheduling gates",
                )
                continue
            why = obstacle(self._node, taken, pod, claims[namespace])
            if why is None:
                self._bind(pod)
                taken = added(taken, requested(pod))
            else:
                self._refuse(pod, "Unschedulable", why)
        return None

    def _bind(self, pod: JSONObject) -> None:
        """Name the node and say so in one write: whoever runs pods sees both or neither."""
        namespace, name = key_of(pod)
        pod.setdefault("spec", {})["nodeName"] = self._node.name
        status = pod.setdefault("status", {})
        old = condition_of(status, "PodScheduled") or {}
        kept = [one for one in status.get("conditions") or () if one.get("type") != old.get("type")]
        status["conditions"] = kept
        set_condition(status, {"type": "PodScheduled", "status": "True"}, datetime.now(UTC))
        self._registry.rewrite(POD, pod)
        word = f"Successfully assigned {namespace}/{name} to {self._node.name}"
        self._recorder.record(POD, pod, Happening("Normal", "Scheduled", word))

    def _refuse(self, pod: JSONObject, reason: str, why: str) -> None:
        status = pod.setdefault("status", {})
        condition = {"type": "PodScheduled", "status": "False", "reason": reason, "message": why}
        if not set_condition(status, condition, datetime.now(UTC)):
            return
        self._registry.rewrite(POD, pod)
        if reason == "Unschedulable":
            self._recorder.record(POD, pod, Happening("Warning", "FailedScheduling", why))
