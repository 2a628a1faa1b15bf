"""What the operator tells the processes of a job: variables of each container, in its order
(https://www.kubeflow.org/docs/components/trainer/legacy-v1/reference/distributed-training/)."""

from collections.abc import Iterator
from typing import Any

from retort.launch.cluster.controllers.pytorchjob.job import MASTER, WORKER, PyTorchJob, Replica

_OPTIONAL = (
    ("maxRestarts", "PET_MAX_RESTARTS"),
    ("nProcPerNode", "PET_NPROC_PER_NODE"),
    ("rdzvId", "PET_RDZV_ID"),
)


def environment(job: PyTorchJob, replica: Replica, index: int) -> list[dict[str, str]]:
    """The variables of a pod's containers, after those of their own."""
    return [{"name": name, "value": value} for name, value in _variables(job, replica, index)]


def _variables(job: PyTorchJob, replica: Replica, index: int) -> Iterator[tuple[str, str]]:
    yield "PYTHONUNBUFFERED", "1"
    processes = job.spec.get("nprocPerNode")
    master = job.replica(MASTER)
    if master is not None:
        yield from ((name, str(master.port)) for name in ("MASTER_PORT", "PET_MASTER_PORT"))
        address = job.name_of(master, 0)
        yield from ((name, address) for name in ("MASTER_ADDR", "PET_MASTER_ADDR"))
        # Pods have the ranks, while the world counts processes: true only where they are as many.
        yield "WORLD_SIZE", str(job.total * _number(processes))
        rank = index if replica.type == MASTER else index + 1
        yield from ((name, str(rank)) for name in ("RANK", "PET_NODE_RANK"))
    if processes is not None:
        yield "PET_NPROC_PER_NODE", str(processes)
    if job.elastic is None:
        yield "PET_NNODES", str(job.total)
    else:
        yield from _elastic(job)


def _elastic(job: PyTorchJob) -> Iterator[tuple[str, str]]:
    elastic: dict[str, Any] = dict(job.elastic or {})
    worker = job.replica(WORKER)
    if worker is None:
        return
    host = elastic.get("rdzvHost") or job.name_of(worker, 0)
    port = elastic.get("rdzvPort")
    yield "PET_RDZV_ENDPOINT", f"{host}:{worker.port if port is None else port}"
    yield "PET_RDZV_BACKEND", str(elastic.get("rdzvBackend") or "c10d")
    yield "PET_NNODES", f"{elastic['minReplicas']}:{elastic['maxReplicas']}"
    for key, name in _OPTIONAL:
        if elastic.get(key) is not None:
            yield name, str(elastic[key])
    if elastic.get("rdzvConf"):
        pairs = (f"{one['key']}={one['value']}" for one in elastic["rdzvConf"])
        yield "PET_RDZV_CONF", ",".join(pairs)
    if elastic.get("standalone"):
        yield "PET_STANDALONE", ""


def _number(processes: object) -> int:
    """Processes of a pod; words such as `auto` count as one."""
    text = str(processes)
    return int(text) if text.isdecimal() else 1
