"""A PyTorchJob whose pods start all or none, as the operator has it with `--gang-scheduler-name=volcano`.

The operator makes a PodGroup and waits with the pods until the scheduler has let it in; the pods name the group
and the scheduler (https://volcano.sh/en/docs/podgroup/).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from retort.launch.cluster.controllers.frame.items import owner_reference, status_of
from retort.launch.cluster.controllers.pytorchjob.job import PyTorchJob, Replica
from retort.launch.cluster.controllers.pytorchjob.parts import PYTORCHJOB
from retort.launch.cluster.controllers.scheduling.node import Amounts, added, requested
from retort.launch.cluster.controllers.scheduling.pod_groups import (
    GANG_SCHEDULER,
    GROUP_NAME,
    is_let_in,
)
from retort.launch.cluster.kinds.errors import JSONObject

_QUEUE = "default"
_TASK = "volcano.sh/task-spec"


@dataclass(frozen=True)
class Gang:
    """Whether pods are scheduled as gangs, and the PodGroups that a job controls."""

    is_on: bool = False
    groups: Sequence[JSONObject] = ()

    @property
    def lets_in(self) -> bool:
        """Whether pods may be made."""
        return not self.is_on or any(is_let_in(status_of(one)) for one in self.groups)

    def change(self, job: PyTorchJob) -> JSONObject | None:
        """The PodGroup that a job is to have, if that is not what it has."""
        if not self.is_on:
            return None
        spec = _spec(job)
        for group in self.groups:
            changed = {**group, "spec": {**group.get("spec", {}), **spec}}
            return changed if changed != group else None
        owners = [owner_reference(PYTORCHJOB, job.item)]
        return {"metadata": {"name": job.name, "ownerReferences": owners}, "spec": spec}

    def mark(self, job: PyTorchJob, replica: Replica, pod: JSONObject) -> None:
        """Have a pod of the job say which group it is of. A scheduler that it names itself is kept."""
        if self.is_on:
            annotations = pod["metadata"].setdefault("annotations", {})
            annotations |= {GROUP_NAME: job.name, _TASK: replica.word}
            pod["spec"].setdefault("schedulerName", GANG_SCHEDULER)

    def leaves(self, replica: Replica) -> bool:
        """Whether the pods of a replica have a scheduler of their own, which knows no gangs."""
        named = replica.template["spec"].get("schedulerName", GANG_SCHEDULER)
        return self.is_on and named != GANG_SCHEDULER


def _spec(job: PyTorchJob) -> dict[str, Any]:
    policy = job.policy.get("schedulingPolicy") or {}
    number = int(policy.get("minAvailable") or job.total)
    spec = {
        "minMember": number,
        "queue": policy.get("queue") or _QUEUE,
        "minResources": policy.get("minResources") or _resources(job, number),
    }
    if policy.get("priorityClass"):
        spec["priorityClassName"] = policy["priorityClass"]
    return spec


def _resources(job: PyTorchJob, number: int) -> dict[str, str]:
    """What the first pods of a job ask for together, the master's before the workers'."""
    asked: Amounts = {}
    for replica in job.replicas:
        for _ in range(min(number, replica.number)):
            asked = added(asked, requested({"spec": replica.template["spec"]}))
        number -= min(number, replica.number)
    asked.pop("pods", Decimal(0))
    return {name: f"{amount.normalize():f}" for name, amount in sorted(asked.items()) if amount}
