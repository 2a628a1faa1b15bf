"""The status of a pod, from how its containers stand
(https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from retort.launch.cluster.kinds.errors import JSONObject

UNKNOWN = {
    "exitCode": 137,
    "reason": "ContainerStatusUnknown",
    "message": "The container could not be located when the pod was terminated",
}
"""Of a container that ran when the node was lost, and with it what it ran."""


@dataclass
class Standing:
    """How a container of a pod stands.

    Attributes:
        spec: what the pod says of it.
        is_first: whether it runs before the others, and they wait for its end.
        state: waiting, running or terminated, as the status has it.
        last: the state terminated of the run before, if there was one.
        restarts: how often it was started again.
        is_started: whether it runs and its startup probe has succeeded.
        is_ready: whether it runs and its readiness probe says so.
        image_id: what the image turned out to be.
    """

    spec: JSONObject
    is_first: bool
    state: dict[str, JSONObject] = field(default_factory=lambda: waiting("ContainerCreating"))
    last: JSONObject | None = None
    restarts: int = 0
    is_started: bool = False
    is_ready: bool = False
    image_id: str = ""

    @property
    def name(self) -> str:
        return str(self.spec["name"])

    @property
    def is_sidecar(self) -> bool:
        """Whether it is started before the others and runs beside them until they have ended."""
        return self.is_first and self.spec.get("restartPolicy") == "Always"

    @property
    def lets_others_start(self) -> bool:
        """Whether those after it need not wait for it any more."""
        return self.is_started if self.is_sidecar else self.has_succeeded

    @property
    def ended(self) -> JSONObject | None:
        """How it has ended, unless it waits or runs."""
        return self.state.get("terminated")

    @property
    def is_running(self) -> bool:
        return "running" in self.state

    @property
    def has_succeeded(self) -> bool:
        return self.ended is not None and self.ended["exitCode"] == 0


def waiting(reason: str, message: str = "") -> dict[str, JSONObject]:
    """The state of a container that does not run yet, or not now."""
    return {"waiting": {"reason": reason, **({"message": message} if message else {})}}


def standings(pod: JSONObject) -> list[Standing]:
    """How the containers of a pod stand when a node takes it on, those that run first in front.

    What ran has ended, as no process outlives the node.
    """
    spec, status = pod["spec"], pod.get("status") or {}
    found = []
    for word, listed, is_first in (
        ("initContainerStatuses", spec.get("initContainers") or (), True),
        ("containerStatuses", spec["containers"], False),
    ):
        known = {one["name"]: one for one in status.get(word) or ()}
        for container in listed:
            one = Standing(container, is_first)
            if told := known.get(container["name"]):
                one.restarts = told.get("restartCount", 0)
                one.last = (told.get("lastState") or {}).get("terminated")
                one.image_id = told.get("imageID", "")
                state = told.get("state") or {}
                if "running" in state:
                    one.state = {"terminated": {**UNKNOWN, **state["running"]}}
                elif "terminated" in state:
                    one.state = dict(state)
            found.append(one)
    return found


def starts_again(policy: str, standing: Standing) -> bool:
    """Whether a container that has ended is started again."""
    if standing.is_sidecar:
        return True
    if standing.is_first:
        return policy != "Never" and not standing.has_succeeded
    return policy == "Always" or (policy == "OnFailure" and not standing.has_succeeded)


def phase(policy: str, containers: Sequence[Standing]) -> str:
    """Pending, Running, Succeeded or Failed, whatever sidecars do."""
    first = [one for one in containers if one.is_first and not one.is_sidecar]
    main = [one for one in containers if not one.is_first]
    if any(one.ended and not one.has_succeeded and not starts_again(policy, one) for one in first):
        return "Failed"
    if not all(one.has_succeeded for one in first):
        return "Pending"
    if any(one.is_running for one in main):
        return "Running"
    if any(one.ended is None and not one.is_running and one.last is None for one in main):
        return "Pending"
    if any(one.ended is None or starts_again(policy, one) for one in main):
        return "Running"
    return "Succeeded" if all(one.has_succeeded for one in main) else "Failed"


@dataclass(frozen=True)
class Given:
    """What a pod has been given, and why it has come to an end, if the node has ended it.

    Attributes:
        address: of the pod; empty before it has one.
        host: the node's address.
        started: when the node has taken it on.
        end: reason and message of a pod that the node has ended: it has failed, whatever its containers say.
        has_vanished: whether nothing is known of its containers any more.
    """

    address: str
    host: str
    started: str
    end: tuple[str, str] | None = None
    has_vanished: bool = False


def pod_status(
    pod: JSONObject, containers: Sequence[Standing], given: Given, now: str
) -> JSONObject:
    """The whole status of a pod.

    Args:
        now: the time of conditions that have changed.
    """
    policy = pod["spec"].get("restartPolicy", "Always")
    before = pod.get("status") or {}
    found: JSONObject = {
        key: value for key, value in before.items() if key in ("qosClass", "nominatedNodeName")
    }
    is_over = given.end is not None and not any(one.is_running for one in containers)
    found["phase"] = "Failed" if is_over else phase(policy, containers)
    if found["phase"] in ("Succeeded", "Failed") and any(one.is_running for one in containers):
        found["phase"] = "Running"  # sidecars are being ended
    found |= {"hostIP": given.host, "hostIPs": [{"ip": given.host}], "startTime": given.started}
    if given.address:
        found |= {"podIP": given.address, "podIPs": [{"ip": given.address}]}
    if given.end is not None:
        found["reason"], found["message"] = given.end
    first = [one for one in containers if one.is_first]
    main = [one for one in containers if not one.is_first]
    if not given.has_vanished:
        if first:
            found["initContainerStatuses"] = [_container_status(one) for one in first]
        found["containerStatuses"] = [_container_status(one) for one in main]
    found["conditions"] = _conditions(found["phase"], containers, given, before, now)
    return found


def _container_status(one: Standing) -> JSONObject:
    return {
        "name": one.name,
        "image": one.spec.get("image", ""),
        "imageID": one.image_id,
        "ready": one.has_succeeded if one.is_first and not one.is_sidecar else one.is_ready,
        "started": one.is_started,
        "restartCount": one.restarts,
        "state": one.state,
        "lastState": {"terminated": one.last} if one.last is not None else {},
    }


def _conditions(
    phase: str, containers: Sequence[Standing], given: Given, before: JSONObject, now: str
) -> list[dict[str, Any]]:
    known = {one["type"]: one for one in before.get("conditions") or ()}
    waits_for = [one.name for one in containers if one.is_first and not one.lets_others_start]
    not_ready = [one.name for one in containers if not one.is_first and not one.is_ready]
    why = ""
    if phase in ("Succeeded", "Failed"):
        why, words = ("PodCompleted" if phase == "Succeeded" else "PodFailed"), ""
    elif not_ready:
        why, words = (
            "ContainersNotReady",
            f"containers with unready status: [{' '.join(not_ready)}]",
        )
    initialized = ("", "")
    if waits_for:
        initialized = (
            "ContainersNotInitialized",
            f"containers with incomplete status: [{' '.join(waits_for)}]",
        )
    told = {
        "PodReadyToStartContainers": (bool(given.address) and phase in ("Pending", "Running"), ""),
        "Initialized": (not waits_for, *initialized),
        "Ready": (not why, why, words if why else ""),
        "ContainersReady": (not why, why, words if why else ""),
    }
    found = []
    for kind, (holds, *reasons) in told.items():
        status: Literal["True", "False"] = "True" if holds else "False"
        one: dict[str, Any] = {"type": kind, "status": status}
        if any(reasons) and not holds:
            one["reason"] = reasons[0]
            if reasons[1]:
                one["message"] = reasons[1]
        old = known.pop(kind, None)
        is_same = old is not None and old.get("status") == status
        one["lastTransitionTime"] = old["lastTransitionTime"] if old and is_same else now
        found.append(one)
    # What others say of it, such as the scheduler, stays.
    return [*found, *known.values()]
