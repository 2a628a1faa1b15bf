"""The pods and services of a job, as the operator makes them."""

from retort.launch.cluster.controllers.frame.items import owner_reference, template_copy
from retort.launch.cluster.controllers.pytorchjob.environment import environment
from retort.launch.cluster.controllers.pytorchjob.job import MASTER, WORKER, PyTorchJob, Replica
from retort.launch.cluster.kinds.errors import JSONObject
from retort.launch.cluster.kinds.table import kind_of

PYTORCHJOB = kind_of("kubeflow.org/v1", "PyTorchJob")
_TRIES = 100


def pod_of(job: PyTorchJob, replica: Replica, index: int) -> JSONObject:
    """A pod. Sidecars have the variables too, init containers do not."""
    metadata, spec = template_copy(replica.template)
    labels = metadata.setdefault("labels", {})
    labels |= {**job.labels_of(replica, index), **job.role_of(replica, index)}
    for container in spec["containers"]:
        container.setdefault("env", []).extend(environment(job, replica, index))
    master = job.replica(MASTER)
    if replica.type == WORKER and master is not None:
        spec.setdefault("initContainers", []).append(_waiting_for(job.name_of(master, 0)))
    spec["restartPolicy"] = "Never" if replica.restarts == "ExitCode" else replica.restarts
    owners = [owner_reference(PYTORCHJOB, job.item)]
    name = job.name_of(replica, index)
    return {"metadata": {**metadata, "name": name, "ownerReferences": owners}, "spec": spec}


def service_of(job: PyTorchJob, replica: Replica, index: int) -> JSONObject:
    """The service that gives a pod its name."""
    labels = job.labels_of(replica, index)
    return {
        "metadata": {
            "name": job.name_of(replica, index),
            "labels": labels,
            "ownerReferences": [owner_reference(PYTORCHJOB, job.item)],
        },
        "spec": {
            "clusterIP": "None",
            "selector": labels,
            "ports": [
                {
                    "port": port["containerPort"],
                    **({"name": port["name"]} if port.get("name") else {}),
                }
                for port in replica.ports
            ],
        },
    }


def _waiting_for(master: str) -> JSONObject:
    """The init container of workers that have a master. It has no security context: where Pod Security is
    "restricted", such a worker is refused."""
    script = (
        f"err=1;for i in $(seq {_TRIES}); do if nslookup {master}; then err=0 && break; fi;"
        "echo waiting for master; sleep 2; done; exit $err"
    )
    return {
        "name": "init-pytorch",
        "image": "alpine:3.10",
        "imagePullPolicy": "IfNotPresent",
        "resources": {
            "limits": {"cpu": "100m", "memory": "20Mi"},
            "requests": {"cpu": "50m", "memory": "10Mi"},
        },
        "command": ["sh", "-c", script],
    }
