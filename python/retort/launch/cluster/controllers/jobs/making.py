"""The pods of a job, as they are made."""

from typing import Any

from retort.launch.cluster.controllers.frame.items import owner_reference, template_copy
from retort.launch.cluster.controllers.jobs.tracking import FINALIZER, INDEX
from retort.launch.cluster.kinds.errors import JSONObject
from retort.launch.cluster.kinds.table import kind_of

JOB = kind_of("batch/v1", "Job")
_VARIABLE = "JOB_COMPLETION_INDEX"


def pod_of(job: JSONObject, index: int | None) -> JSONObject:
    """A pod for a completion of an Indexed job, or for any one."""
    name = job["metadata"]["name"]
    metadata, spec = template_copy(job["spec"]["template"])
    prefix = f"{name}-"
    if index is not None:
        prefix = f"{name}-{index}-"
        for field in ("annotations", "labels"):
            metadata.setdefault(field, {})[INDEX] = str(index)
        spec.setdefault("hostname", f"{name}-{index}")
        for lists in ("initContainers", "containers"):
            for container in spec.get(lists) or ():
                _tell_index(container)
    metadata["finalizers"] = [FINALIZER]
    return {
        "metadata": {
            **metadata,
            "generateName": prefix,
            "ownerReferences": [owner_reference(JOB, job)],
        },
        "spec": spec,
    }


def _tell_index(container: dict[str, Any]) -> None:
    variables = container.setdefault("env", [])
    if not any(one.get("name") == _VARIABLE for one in variables):
        field = {"fieldPath": f"metadata.labels['{INDEX}']"}
        variables.append({"name": _VARIABLE, "valueFrom": {"fieldRef": field}})
