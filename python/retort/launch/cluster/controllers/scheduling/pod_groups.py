"""Pods that have nodes all together or not at all: pure functions, in the words of Volcano
(https://volcano.sh/en/docs/podgroup/)."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from typing import Any

from retort.launch.cluster.controllers.frame.items import (
    FINISHED,
    ObjectKey,
    annotations_of,
    key_of,
    phase_of,
    spec_of,
    status_of,
)
from retort.launch.cluster.controllers.scheduling.node import (
    Amounts,
    Node,
    added,
    amounts,
    lacking,
    requested,
)
from retort.launch.cluster.kinds.errors import JSONObject
from retort.launch.cluster.kinds.table import kind_of

POD_GROUP = kind_of("scheduling.volcano.sh/v1beta1", "PodGroup")
GANG_SCHEDULER = "volcano"
GROUP_NAME = "scheduling.k8s.io/group-name"
"""The annotation of a pod that says which group it is of."""
PENDING, LET_IN, RUNNING = "Pending", "Inqueue", "Running"


def is_let_in(status: Mapping[str, Any]) -> bool:
    """Whether there was room for all of a group, so that its pods may be made."""
    return bool(status.get("phase", PENDING) != PENDING)


def group_of(pod: JSONObject) -> ObjectKey:
    """The group that a pod is scheduled with; an empty name for none."""
    is_of_one = spec_of(pod).get("schedulerName") == GANG_SCHEDULER
    name = annotations_of(pod).get(GROUP_NAME, "") if is_of_one else ""
    return ObjectKey(key_of(pod).namespace, name)


def reserved(groups: Sequence[JSONObject], pods: Sequence[JSONObject]) -> Amounts:
    """What groups that were let in have yet to take: their pods are not made, or have no node."""
    total: Amounts = {}
    for group in groups:
        if status_of(group).get("phase") != LET_IN:
            continue
        with suppress(ValueError):  # put there by hand: nothing can be known of it
            rest = amounts(spec_of(group).get("minResources") or {})
            for pod in pods:
                if group_of(pod) == key_of(group) and _has_node(pod):
                    asked = requested(pod)
                    rest = {
                        name: max(amount - asked.get(name, Decimal(0)), Decimal(0))
                        for name, amount in rest.items()
                    }
            total = added(total, rest)
    return total


def refusal(node: Node, taken: Amounts, group: JSONObject) -> str:
    """Why a group is not let in; empty if there is room for all of it."""
    try:
        missing = lacking(node, taken, amounts(spec_of(group).get("minResources") or {}))
    except ValueError as error:
        return str(error)
    return f"resource in cluster is overused: {', '.join(missing)}" if missing else ""


def gangs(
    waiting: Sequence[JSONObject], groups: Sequence[JSONObject], pods: Sequence[JSONObject]
) -> Iterator[tuple[list[JSONObject], int]]:
    """Pods that wait, group by group, and how many of them must have a node so that any has.

    A pod that names no group, or one that is not there, is alone.
    """
    there = {key_of(one): one for one in groups}
    together: dict[ObjectKey, list[JSONObject]] = {}
    for pod in waiting:
        key = group_of(pod)
        together.setdefault(key if key in there else key_of(pod), []).append(pod)
    for key, members in together.items():
        least = _least(there[key]) if key in there else 1
        yield members, max(least - _placed(key, pods), 0)


def is_placed(group: JSONObject, pods: Sequence[JSONObject]) -> bool:
    """Whether as many pods of a group have a node as are needed."""
    return _placed(key_of(group), pods) >= _least(group)


def _least(group: JSONObject) -> int:
    found = spec_of(group).get("minMember")
    return found if isinstance(found, int) else 1  # a definition refuses what is no number


def _placed(group: ObjectKey, pods: Sequence[JSONObject]) -> int:
    return sum(_has_node(pod) and group_of(pod) == group for pod in pods)


def _has_node(pod: JSONObject) -> bool:
    return bool(spec_of(pod).get("nodeName")) and phase_of(pod) not in FINISHED
