"""The JobSet of a TrainJob, from its runtime, as Kubeflow's trainer 2.3 builds it
(https://www.kubeflow.org/docs/components/trainer/operator-guides/runtime/)."""

import copy
import math
from collections.abc import Mapping
from typing import Any

from retort.launch.cluster.controllers.frame.items import name_of, owner_reference, spec_of
from retort.launch.cluster.kinds.errors import JSONObject
from retort.launch.cluster.kinds.table import kind_of
from retort.launch.units import quantity

TRAINJOB = kind_of("trainer.kubeflow.org/v1alpha1", "TrainJob")
RUNTIME = kind_of("trainer.kubeflow.org/v1alpha1", "TrainingRuntime")
_STEP = "trainer.kubeflow.org/trainjob-ancestor-step"
_NODE = "node"
"""The container that trains, and the job that holds it."""
_PORT = 29500
_INDEX = "metadata.annotations['batch.kubernetes.io/job-completion-index']"


def jobset_of(job: JSONObject, runtime: JSONObject) -> JSONObject:
    """The JobSet of a job."""
    policy: Mapping[str, Any] = spec_of(runtime).get("mlPolicy") or {}
    template = copy.deepcopy(spec_of(runtime)["template"])
    spec, metadata = template.get("spec") or {}, template.get("metadata") or {}
    trainer = spec_of(job).get("trainer")
    for replicated in spec.get("replicatedJobs") or ():
        labels = (replicated["template"].get("metadata") or {}).get("labels") or {}
        if labels.get(_STEP) == "trainer":
            _trainer(job, replicated, policy, trainer)
    if "suspend" in spec_of(job):
        spec["suspend"] = spec_of(job)["suspend"]
    return {
        "metadata": {
            "name": name_of(job),
            **{key: metadata[key] for key in ("labels", "annotations") if metadata.get(key)},
            "ownerReferences": [owner_reference(TRAINJOB, job)],
        },
        "spec": spec,
    }


def _trainer(
    job: JSONObject,
    replicated: dict[str, Any],
    policy: Mapping[str, Any],
    trainer: Mapping[str, Any] | None,
) -> None:
    spec = replicated["template"]["spec"]
    asked = trainer or {}
    nodes = asked.get("numNodes", policy.get("numNodes", spec.get("parallelism", 1)))
    replicated["replicas"] = 1
    spec["parallelism"] = spec["completions"] = nodes
    for container in spec["template"]["spec"]["containers"]:
        if container["name"] != _NODE:
            continue
        for key in ("image", "command", "args"):
            if asked.get(key) is not None:
                container[key] = asked[key]
        resources = asked.get("resourcesPerNode")
        if resources:
            container["resources"] = copy.deepcopy(dict(resources))
        for variable in asked.get("env") or ():
            _put(container.setdefault("env", []), variable, "name")
        # Without `trainer` there is no variable at all.
        if "torch" in policy and trainer is not None:
            _torch(name_of(job), container, nodes, asked)


def _torch(name: str, container: dict[str, Any], nodes: int, asked: Mapping[str, Any]) -> None:
    processes = _processes(asked.get("numProcPerNode", "auto"), container.get("resources") or {})
    variables: tuple[JSONObject, ...] = (
        {"name": "PET_NNODES", "value": str(nodes)},
        {"name": "PET_NPROC_PER_NODE", "value": str(processes)},
        {"name": "PET_NODE_RANK", "valueFrom": {"fieldRef": {"fieldPath": _INDEX}}},
        {"name": "PET_MASTER_ADDR", "value": f"{name}-{_NODE}-0-0.{name}"},
        {"name": "PET_MASTER_PORT", "value": str(_PORT)},
    )
    for variable in variables:
        _put(container.setdefault("env", []), variable, "name")
    _put(container.setdefault("ports", []), {"containerPort": _PORT}, "containerPort")


def _processes(asked: object, resources: Mapping[str, Any]) -> object:
    """Processes of a pod: what is said, or as many as CPUs where there is no GPU."""
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    has_gpu = any("gpu" in name.lower() for name in (*limits, *requests))
    if asked != "cpu" and (asked != "auto" or has_gpu):
        return asked
    cpus = (quantity(str(one["cpu"])) for one in (limits, requests) if "cpu" in one)
    return max(1, math.ceil(max(cpus, default=1)))


def _put(listed: list[dict[str, Any]], item: Mapping[str, Any], key: str) -> None:
    """Have a list hold an item, in the place of one with the same key."""
    for number, one in enumerate(listed):
        if one.get(key) == item[key]:
            listed[number] = dict(item)
            return
    listed.append(dict(item))
