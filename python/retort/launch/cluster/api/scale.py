"""How many copies of something run: what `kubectl scale` reads and writes
(https://kubernetes.io/docs/reference/kubernetes-api/autoscaling/scale-v1/)."""

from collections.abc import Sequence
from typing import Any

from retort.launch.cluster.kinds.errors import JSONObject, bad_request, invalid, invalid_value
from retort.launch.cluster.kinds.kind import Kind

GROUP, VERSION, KIND = "autoscaling", "v1", "Scale"
_SHOWN = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")


def scale_of(kind: Kind, item: JSONObject) -> JSONObject:
    """An object of kind Scale that tells of an object."""
    labels = _at(item, ("spec", "selector", "matchLabels")) or {}
    selector = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
    return {
        "kind": KIND,
        "apiVersion": f"{GROUP}/{VERSION}",
        "metadata": {key: item["metadata"][key] for key in _SHOWN if key in item["metadata"]},
        "spec": {"replicas": _at(item, kind.replicas_at) or 0},
        "status": {
            "replicas": _at(item, kind.running_at) or 0,
            **({"selector": selector} if selector else {}),
        },
    }


def scaled(kind: Kind, item: JSONObject, scale: JSONObject) -> JSONObject:
    """The object with as many copies as a Scale asks for.

    Raises:
        ApiError: it asks for none that there can be (400, 422), or the object is not the one meant (409).
    """
    spec, metadata = scale.get("spec"), scale.get("metadata")
    wanted = spec.get("replicas", 0) if isinstance(spec, dict) else None
    if not isinstance(wanted, int) or isinstance(wanted, bool):
        raise bad_request("spec.replicas: is not a whole number")
    if wanted < 0:
        why = "must be greater than or equal to 0"
        raise invalid(kind, item["metadata"]["name"], [invalid_value("spec.replicas", wanted, why)])
    part = _at(item, kind.replicas_at[:-1])
    if not isinstance(part, dict):
        raise bad_request(f"{'.'.join(kind.replicas_at[:-1])}: is not there")
    part[kind.replicas_at[-1]] = wanted
    # What the sender has seen is what it writes to.
    for key in ("uid", "resourceVersion"):
        given = metadata.get(key) if isinstance(metadata, dict) else None
        if given:
            item["metadata"][key] = given
    return item


def _at(item: JSONObject, path: Sequence[str]) -> Any:
    found: Any = item
    for key in path:
        found = found.get(key) if isinstance(found, dict) else None
    return found
