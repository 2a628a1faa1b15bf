"""What is to be done about a ReplicaSet: a pure function
(https://kubernetes.io/docs/concepts/workloads/controllers/replicaset/)."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from retort.launch.cluster.controllers.frame.items import (
    condition_of,
    earliest,
    is_active,
    is_going,
    is_true,
    moment,
    owner_reference,
    phase_of,
    spec_of,
    status_of,
    template_copy,
)
from retort.launch.cluster.controllers.frame.outcome import NOTHING, Creation, Outcome, Removal
from retort.launch.cluster.kinds.errors import JSONObject
from retort.launch.cluster.kinds.table import POD, kind_of

REPLICASET = kind_of("apps/v1", "ReplicaSet")


def plan_replicas(item: JSONObject, pods: Sequence[JSONObject], now: datetime) -> Outcome:
    """What is to be done about a ReplicaSet.

    Args:
        pods: those that it controls.
    """
    if is_going(item):
        return NOTHING
    spec = spec_of(item)
    active = [pod for pod in pods if is_active(pod)]
    wanted = int(spec.get("replicas", 1))
    surplus = sorted(active, key=_worth)[: max(len(active) - wanted, 0)]
    missing = max(wanted - len(active), 0)
    ready = [pod for pod in active if is_true(status_of(pod), "Ready")]
    since = {pod["metadata"]["uid"]: _available_at(spec, pod) for pod in ready}
    available = [at for at in since.values() if at <= now]
    status: dict[str, Any] = {
        "replicas": len(active),
        "fullyLabeledReplicas": len(active),
        "readyReplicas": len(ready),
        "availableReplicas": len(available),
    }
    status = {"replicas": len(active), **{key: value for key, value in status.items() if value}}
    return Outcome(
        status={**status, "observedGeneration": item["metadata"].get("generation", 1)},
        removals=tuple(Removal(POD, pod, "SuccessfulDelete") for pod in surplus),
        creations=tuple(Creation(POD, _pod_of(item), "SuccessfulCreate") for _ in range(missing)),
        again_at=earliest(at for at in since.values() if at > now),
    )


def _worth(pod: JSONObject) -> tuple[bool, bool, bool, str]:
    """Pods in the order in which they are given up: those that serve longest go last."""
    ready = condition_of(status_of(pod), "Ready") or {}
    is_ready = ready.get("status") == "True"
    since = str(ready.get("lastTransitionTime", "")) if is_ready else ""
    # Of those that are ready the newest goes first: later times sort before earlier ones.
    newest = "".join(chr(0x10FFFF - ord(letter)) for letter in since)
    return bool(spec_of(pod).get("nodeName")), phase_of(pod) == "Running", is_ready, newest


def _available_at(spec: dict[str, Any], pod: JSONObject) -> datetime:
    ready = condition_of(status_of(pod), "Ready") or {}
    since = ready.get("lastTransitionTime") or pod["metadata"]["creationTimestamp"]
    return moment(since) + timedelta(seconds=spec.get("minReadySeconds", 0))


def _pod_of(item: JSONObject) -> JSONObject:
    metadata, spec = template_copy(spec_of(item)["template"])
    owners = [owner_reference(REPLICASET, item)]
    name = f"{item['metadata']['name']}-"
    return {"metadata": {**metadata, "generateName": name, "ownerReferences": owners}, "spec": spec}
