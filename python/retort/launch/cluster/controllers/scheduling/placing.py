"""Where pods go: a pure function from pods, claims and a node."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from retort.launch.cluster.controllers.frame.items import (
    FINISHED,
    is_going,
    name_of,
    phase_of,
    spec_of,
)
from retort.launch.cluster.controllers.scheduling.node import (
    Amounts,
    Node,
    added,
    is_selected,
    lacking,
    requested,
)
from retort.launch.cluster.controllers.scheduling.pod_groups import GANG_SCHEDULER
from retort.launch.cluster.kinds.errors import JSONObject

SCHEDULER = "default-scheduler"
_IN_VAIN = "Preemption is not helpful for scheduling."
_NO_VICTIMS = "No preemption victims found for incoming pod."


def waiting(pods: Sequence[JSONObject]) -> list[JSONObject]:
    """The pods that are to have a node, in the order in which they are tried."""
    found = [
        pod
        for pod in pods
        if not spec_of(pod).get("nodeName")
        and spec_of(pod).get("schedulerName", SCHEDULER) in (SCHEDULER, GANG_SCHEDULER)
        and not is_going(pod)
        and phase_of(pod) not in FINISHED
    ]
    return sorted(
        found,
        key=lambda pod: (
            -int(spec_of(pod).get("priority", 0)),
            pod["metadata"]["creationTimestamp"],
            (pod["metadata"]["namespace"], name_of(pod)),
        ),
    )


def used(node: Node, pods: Sequence[JSONObject]) -> Amounts:
    """What pods on a node have asked for, until they end."""
    total: Amounts = {}
    for pod in pods:
        if spec_of(pod).get("nodeName") == node.name and phase_of(pod) not in FINISHED:
            with suppress(ValueError):  # put there by hand: nothing can be known of it
                total = added(total, requested(pod))
    return total


def obstacle(
    node: Node, taken: Amounts, pod: JSONObject, claims: Mapping[str, JSONObject]
) -> str | None:
    """Why a pod cannot be on a node now, in the scheduler's words.

    Args:
        claims: of the pod's namespace, by name.
    Returns:
        None where it can.
    """
    why = _claims_obstacle(pod, claims)
    if why is None and not is_selected(node, pod):
        why = "1 node(s) didn't match Pod's node affinity/selector"
    if why is not None:
        return _said(why, _IN_VAIN)
    try:
        missing = lacking(node, taken, requested(pod))
    except ValueError as error:
        return _said(str(error), _IN_VAIN)
    if missing:
        return _said(", ".join(f"1 {one}" for one in missing), _NO_VICTIMS)
    return None


def _claims_obstacle(pod: JSONObject, claims: Mapping[str, JSONObject]) -> str | None:
    named = claim_names(pod)
    for name in named:
        claim = claims.get(name)
        if claim is None:
            return f'persistentvolumeclaim "{name}" not found'
        if is_going(claim):
            return f'persistentvolumeclaim "{name}" is being deleted'
    if any((claims[name].get("status") or {}).get("phase") != "Bound" for name in named):
        return "pod has unbound immediate PersistentVolumeClaims"
    return None


def claim_names(pod: JSONObject) -> list[str]:
    """The claims that a pod mounts."""
    volumes: Sequence[Mapping[str, Any]] = spec_of(pod).get("volumes") or ()
    found = (one.get("persistentVolumeClaim") for one in volumes)
    return [str(one.get("claimName", "")) for one in found if one]


def _said(why: str, preemption: str) -> str:
    return f"0/1 nodes are available: {why}. preemption: 0/1 nodes are available: 1 {preemption}"
