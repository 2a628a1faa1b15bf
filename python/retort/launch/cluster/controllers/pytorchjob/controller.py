"""The controller of PyTorchJobs: it reads, has it planned, and acts."""

from collections.abc import Mapping
from datetime import UTC, datetime

from retort.launch.cluster.controllers.frame.events import Recorder
from retort.launch.cluster.controllers.frame.items import ObjectKey
from retort.launch.cluster.controllers.frame.loop import Mapped
from retort.launch.cluster.controllers.frame.outcome import act
from retort.launch.cluster.controllers.frame.watching import controlled, its_controller, itself
from retort.launch.cluster.controllers.pytorchjob.gang import Gang
from retort.launch.cluster.controllers.pytorchjob.parts import PYTORCHJOB
from retort.launch.cluster.controllers.pytorchjob.plan import SERVICE, plan
from retort.launch.cluster.controllers.scheduling.pod_groups import POD_GROUP
from retort.launch.cluster.kinds.kind import Kind
from retort.launch.cluster.kinds.table import POD
from retort.launch.cluster.objects.registry import Registry


class PyTorchJobs:
    """Acts on PyTorchJobs, and on the pods, services and groups that they control.

    Args:
        gangs: whether the pods of a job start all or none.
    """

    def __init__(self, registry: Registry, gangs: bool = False) -> None:
        self._registry = registry
        self._gangs = gangs
        self._recorder = Recorder(registry, "pytorchjob-controller")

    @property
    def watched(self) -> Mapping[Kind, Mapped]:
        mine = its_controller(PYTORCHJOB)
        return {PYTORCHJOB: itself, POD: mine, SERVICE: mine, POD_GROUP: mine}

    def reconcile(self, key: ObjectKey) -> datetime | None:
        job = self._registry.find(PYTORCHJOB, *key)
        if job is None:
            return None
        pods = controlled(self._registry, POD, job)
        services = controlled(self._registry, SERVICE, job)
        gang = Gang(self._gangs, controlled(self._registry, POD_GROUP, job))
        outcome = plan(job, pods, services, datetime.now(UTC), gang)
        return act(self._registry, self._recorder, PYTORCHJOB, job, outcome)
