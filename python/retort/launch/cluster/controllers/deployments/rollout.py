"""How many pods the old and the new ReplicaSets of a Deployment are to have, step by step
(https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#rolling-update-deployment).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from retort.launch.cluster.controllers.frame.items import name_of, spec_of, status_of
from retort.launch.cluster.kinds.errors import JSONObject

Scales = dict[str, int]
"""By the name of a ReplicaSet how many pods it is to have."""


def scales(
    spec: Mapping[str, Any], new: JSONObject, old: Sequence[JSONObject], old_pods: int
) -> Scales:
    """The next step.

    Args:
        spec: of the Deployment.
        new, old: its ReplicaSets; `old` in the order of their age.
        old_pods: pods of the old ones that have not ended, those that are being deleted too.
    """
    wanted = int(spec.get("replicas", 1))
    if (spec.get("strategy") or {}).get("type") == "Recreate":
        down = {name_of(one): 0 for one in old if size(one)}
        return down or ({name_of(new): wanted} if not old_pods else {})
    surge, unavailable = _limits(spec, wanted)
    up = _new_size(wanted, surge, new, old)
    if up != size(new):
        return {name_of(new): up}
    return _old_sizes(wanted - unavailable, new, old)


def size(item: JSONObject) -> int:
    """How many pods a ReplicaSet is to have."""
    return int(spec_of(item).get("replicas", 0))


def available(item: JSONObject) -> int:
    return int(status_of(item).get("availableReplicas", 0))


def _limits(spec: Mapping[str, Any], wanted: int) -> tuple[int, int]:
    """Pods above and below the number wanted that there may be. Shares are rounded up and down."""
    rolling = (spec.get("strategy") or {}).get("rollingUpdate") or {}
    surge = _number(rolling.get("maxSurge", "25%"), wanted, up=True)
    unavailable = _number(rolling.get("maxUnavailable", "25%"), wanted, up=False)
    # With neither nothing could ever change.
    return (surge, unavailable) if surge or unavailable else (0, 1)


def allowed_unavailable(spec: Mapping[str, Any]) -> int:
    """Pods below the number wanted with which a Deployment is available."""
    wanted = int(spec.get("replicas", 1))
    if (spec.get("strategy") or {}).get("type") == "Recreate":
        return 0
    return min(_limits(spec, wanted)[1], wanted)


def _number(value: object, wanted: int, *, up: bool) -> int:
    if isinstance(value, str) and value.endswith("%"):
        share = int(value.removesuffix("%")) * wanted / 100
        return math.ceil(share) if up else math.floor(share)
    return int(str(value))


def _new_size(wanted: int, surge: int, new: JSONObject, old: Sequence[JSONObject]) -> int:
    if size(new) >= wanted:
        return wanted
    room = wanted + surge - size(new) - sum(map(size, old))
    return size(new) + min(max(room, 0), wanted - size(new))


def _old_sizes(least: int, new: JSONObject, old: Sequence[JSONObject]) -> Scales:
    """Give up old pods: first those that do not serve, then as many as may be missing."""
    sizes = {name_of(one): size(one) for one in old}
    total = sum(sizes.values()) + size(new)
    may = total - least - (size(new) - available(new))
    for one in old:
        idle = min(sizes[name_of(one)] - available(one), may)
        if idle > 0:
            sizes[name_of(one)] -= idle
            may -= idle
    spare = sum(map(available, (*old, new))) - least
    for one in old:
        fewer = min(sizes[name_of(one)], max(spare, 0))
        sizes[name_of(one)] -= fewer
        spare -= fewer
    return {name_of(one): sizes[name_of(one)] for one in old if sizes[name_of(one)] != size(one)}
