"""The scheduler: gives pods the node, or says why it cannot
(https://kubernetes.io/docs/concepts/scheduling-eviction/kube-scheduler/)."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from retort.launch.cluster.controllers.frame.events import Happening, Recorder
from retort.launch.cluster.controllers.frame.items import (
    ObjectKey,
    condition_of,
    key_of,
    set_condition,
    spec_of,
    status_of,
)
from retort.launch.cluster.controllers.frame.loop import Mapped
from retort.launch.cluster.controllers.scheduling.node import (
    Amounts,
    Node,
    added,
    amounts,
    requested,
)
from retort.launch.cluster.controllers.scheduling.placing import (
    SCHEDULER,
    obstacle,
    used,
    waiting,
)
from retort.launch.cluster.controllers.scheduling.pod_groups import (
    LET_IN,
    PENDING,
    POD_GROUP,
    RUNNING,
    gangs,
    is_let_in,
    is_placed,
    refusal,
    reserved,
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
    """Acts on pods that have no node, and on groups whose pods are to have it together."""

    def __init__(self, registry: Registry, node: Node) -> None:
        self._registry = registry
        self._node = node
        self._recorder = Recorder(registry, SCHEDULER)

    @property
    def watched(self) -> Mapping[Kind, Mapped]:
        return dict.fromkeys((POD, CLAIM, POD_GROUP), lambda _: (_ALL,))

    def reconcile(self, key: ObjectKey) -> datetime | None:
        pods = self._registry.list(POD).items
        groups = self._registry.list(POD_GROUP).items
        taken = used(self._node, pods)
        for members, least in gangs(waiting(pods), groups, pods):
            taken = self._place(members, least, taken)
        self._let_in(groups, pods, taken)
        return None

    def _place(self, members: Sequence[JSONObject], least: int, taken: Amounts) -> Amounts:
        """Give the node to pods of which so many must have it so that any has.

        Returns:
            What is taken then.
        """
        fit, refused, before = [], [], taken
        for pod in members:
            reason, why = self._obstacle(pod, taken)
            if why:
                refused.append((pod, reason, why))
            else:
                fit.append(pod)
                taken = added(taken, requested(pod))
        if len(fit) < least:
            word = f"pod group is not ready, {len(members)} Pending, {least} minAvailable"
            why = f"{word}; {refused[0][2]}" if refused else word
            refused += [(pod, "Unschedulable", why) for pod in fit]
            fit, taken = [], before
        for pod in fit:
            self._bind(pod)
        for pod, reason, why in refused:
            self._refuse(pod, reason, why)
        return taken

    def _obstacle(self, pod: JSONObject, taken: Amounts) -> tuple[str, str]:
        """Why a pod cannot have the node now, as a reason and in words; both empty where it can."""
        if spec_of(pod).get("schedulingGates"):
            return "SchedulingGated", "Scheduling is blocked due to non-empty scheduling gates"
        found = self._registry.list(CLAIM, Selection(key_of(pod).namespace)).items
        why = obstacle(self._node, taken, pod, {one["metadata"]["name"]: one for one in found})
        return ("Unschedulable", why) if why else ("", "")

    def _let_in(
        self, groups: Sequence[JSONObject], pods: Sequence[JSONObject], taken: Amounts
    ) -> None:
        """Let groups in, the oldest first, while there is room for all pods of each."""
        taken = added(taken, reserved(groups, pods))
        for group in sorted(groups, key=lambda one: one["metadata"]["creationTimestamp"]):
            status = status_of(group)
            if is_let_in(status):
                if is_placed(group, pods):
                    self._say(group, RUNNING)
                continue
            why = refusal(self._node, taken, group)
            self._say(group, PENDING if why else LET_IN, why)
            if not why:
                taken = added(taken, amounts(spec_of(group).get("minResources") or {}))

    def _say(self, group: JSONObject, phase: str, why: str = "") -> None:
        status = group.setdefault("status", {})
        is_new = status.get("phase") != phase
        status["phase"] = phase
        condition = {"type": "Unschedulable", "status": "True", "reason": "NotEnoughResources"}
        if why and set_condition(status, {**condition, "message": why}, datetime.now(UTC)):
            is_new = True
            self._recorder.record(POD_GROUP, group, Happening("Warning", "Unschedulable", why))
        if is_new:
            self._registry.rewrite(POD_GROUP, group)

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
