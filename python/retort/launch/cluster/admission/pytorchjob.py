"""PyTorchJob as the training operator (1.9) completes and refuses it.

Its defaults are those of the operator, which writes none of them into an object; here they are
written, so that whoever acts on one finds it complete
(https://www.kubeflow.org/docs/components/trainer/legacy-v1/user-guides/pytorch/).
"""

from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

from retort.launch.cluster.admission.write import Write
from retort.launch.cluster.kinds.errors import (
    ApiError,
    Cause,
    JSONObject,
    invalid,
    invalid_value,
    required,
)
from retort.launch.cluster.kinds.names import DNS_1035, name_causes
from retort.launch.cluster.kinds.table import kind_of

PYTORCHJOB = kind_of("kubeflow.org/v1", "PyTorchJob")
CONTAINER = "pytorch"
"""The container that trains."""
OPERATOR = "kubeflow.org/training-operator"
_QUEUE = "kueue.x-k8s.io/multikueue"
_TYPES = ("Master", "Worker")
_LONGEST = 63
_WEBHOOK = "validator.pytorchjob.training-operator.kubeflow.org"
_SPEC = "spec.pytorchReplicaSpecs"


def pytorchjob_defaults(write: Write, item: JSONObject) -> None:
    """Complete a PyTorchJob that is written."""
    if write.kind == PYTORCHJOB and not write.subresource:
        complete(item)


def complete(item: JSONObject) -> None:
    """Have a PyTorchJob say what its operator takes for granted: one replica, OnFailure, `nprocPerNode`,
    which pods are cleaned up, and min and max of an elastic run.

    The operator's port is no part of it: in lists of custom kinds, what a server adds goes with each apply.
    """
    spec = _map(item.get("spec"))
    replicas = _map(spec.get("pytorchReplicaSpecs"))
    for replica in map(_map, replicas.values()):
        replica.setdefault("replicas", 1)
        replica.setdefault("restartPolicy", "OnFailure")
    if isinstance(item.get("spec"), dict):
        if isinstance(spec.setdefault("runPolicy", {}), dict):
            spec["runPolicy"].setdefault("cleanPodPolicy", "None")
        elastic = spec.get("elasticPolicy")
        if not isinstance(elastic, dict):
            spec.setdefault("nprocPerNode", "auto")
            return
        if "nProcPerNode" not in elastic:
            spec.setdefault("nprocPerNode", "auto")
        workers = _map(replicas.get("Worker")).get("replicas")
        least, most = elastic.get("minReplicas"), elastic.get("maxReplicas")
        # One of both, or else the workers that there are, stands for what is not said.
        for name, value in (("minReplicas", most), ("maxReplicas", least)):
            filled = workers if value is None else value
            if filled is not None:
                elastic.setdefault(name, filled)


def pytorchjob_rules(write: Write, item: JSONObject) -> None:
    """Refuse what the operator's webhook, or a rule in the definition of the kind, refuses.

    Raises:
        ApiError: 403 by the webhook, 422 by the definition.
    """
    if write.kind != PYTORCHJOB or write.subresource:
        return
    name = item["metadata"]["name"]
    if write.before is not None:
        changed = list(_immutable(write.before, item))
        if changed:
            raise invalid(write.kind, name, changed)
    causes = list(_causes(name, item))
    if causes:
        words = ", ".join(map(str, causes))
        text = f"[{words}]" if len(causes) > 1 else words
        raise ApiError(
            HTTPStatus.FORBIDDEN,
            "Forbidden",
            f'admission webhook "{_WEBHOOK}" denied the request: {text}',
        )


def _immutable(before: JSONObject, after: JSONObject) -> Iterator[Cause]:
    was, now = (_map(_map(one.get("spec")).get("runPolicy")) for one in (before, after))
    old, new = (_map(one.get("schedulingPolicy")).get("queue") for one in (was, now))
    if old is not None and new is not None and old != new:
        field = "spec.runPolicy.schedulingPolicy.queue"
        yield Cause(field, f'Invalid value: "string": {field} is immutable')
    if was.get("managedBy") != now.get("managedBy"):
        where = "spec.runPolicy.managedBy"
        yield invalid_value(where, now.get("managedBy") or "", "field is immutable")


def _causes(name: str, item: JSONObject) -> Iterator[Cause]:
    yield from name_causes("metadata.name", name, DNS_1035, _LONGEST)
    spec = _map(item.get("spec"))
    manager = _map(spec.get("runPolicy")).get("managedBy")
    if manager not in (None, OPERATOR, _QUEUE):
        words = f'Unsupported value: "{manager}": supported values: "{_QUEUE}", "{OPERATOR}"'
        yield Cause("spec.runPolicy.managedBy", words, "FieldValueNotSupported")
    replicas = _map(spec.get("pytorchReplicaSpecs"))
    elastic = spec.get("elasticPolicy")
    if isinstance(elastic, dict):
        if "nProcPerNode" in elastic and "nprocPerNode" in spec:
            where = "spec.elasticPolicy.nProcPerNode"
            yield Cause(where, "Forbidden: must not be used with spec.nprocPerNode")
        if "Worker" not in replicas:
            yield required(f"{_SPEC}[Worker]", "must be specified with elasticPolicy")
    if not replicas:
        yield required(_SPEC, "must be specified")
    for kind, replica in replicas.items():
        yield from _replica(kind, _map(replica))


def _replica(kind: str, replica: Mapping[str, Any]) -> Iterator[Cause]:
    at = f"{_SPEC}[{kind}]"
    if kind not in _TYPES:
        words = ", ".join(f'"{one}"' for one in _TYPES)
        yield Cause(at, f'Unsupported value: "{kind}": supported values: {words}')
    number = replica.get("replicas", 1)
    if kind == "Master" and number != 1:
        yield invalid_value(f"{at}.replicas", number, "must be 1")
    if kind == "Worker" and isinstance(number, int) and number < 1:
        yield invalid_value(f"{at}.replicas", number, "must be at least 1")
    containers = _containers(replica)
    where = f"{at}.template.spec.containers"
    for place, container in enumerate(containers):
        if not container.get("image"):
            yield required(f"{where}[{place}].image", "must be specified")
    if not any(one.get("name") == CONTAINER for one in containers):
        yield required(where, f"must have at least one container with name {CONTAINER}")


def _containers(replica: Mapping[str, Any]) -> list[dict[str, Any]]:
    spec = _map(_map(replica.get("template")).get("spec"))
    listed = spec.get("containers")
    return [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []


def _map(value: object) -> dict[str, Any]:
    """A value where it is a map; otherwise an empty one, which says nothing of what is wrong."""
    return value if isinstance(value, dict) else {}
