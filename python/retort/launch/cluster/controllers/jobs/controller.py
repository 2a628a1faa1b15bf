"""The controller of Jobs: it reads, has it planned, and acts."""

from collections.abc import Mapping
from datetime import UTC, datetime

from retort.launch.cluster.controllers.frame.events import Recorder
from retort.launch.cluster.controllers.frame.items import ObjectKey, controller_of, key_of
from retort.launch.cluster.controllers.frame.loop import Mapped
from retort.launch.cluster.controllers.frame.outcome import act
from retort.launch.cluster.controllers.frame.watching import its_controller, itself
from retort.launch.cluster.controllers.jobs.making import JOB
from retort.launch.cluster.controllers.jobs.plan import plan
from retort.launch.cluster.controllers.jobs.tracking import is_tracked, untracked
from retort.launch.cluster.kinds.kind import Kind
from retort.launch.cluster.kinds.table import POD
from retort.launch.cluster.objects.registry import Registry
from retort.launch.cluster.objects.selectors import Selection


class Jobs:
    """Acts on Jobs and on the pods that they control."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._recorder = Recorder(registry, "job-controller")

    @property
    def watched(self) -> Mapping[Kind, Mapped]:
        return {JOB: itself, POD: its_controller(JOB)}

    def reconcile(self, key: ObjectKey) -> datetime | None:
        job = self._registry.find(JOB, *key)
        uid = job["metadata"]["uid"] if job else ""
        mine = []
        for pod in self._registry.list(POD, Selection(key.namespace)).items:
            owner = controller_of(pod) or {}
            if (owner.get("kind"), owner.get("name")) != (JOB.kind, key.name):
                continue
            if owner["uid"] == uid:
                mine.append(pod)
            elif is_tracked(pod):
                # Of a job that is no more: nobody counts it.
                self._registry.update(POD, *key_of(pod), untracked(pod))
        if job is None:
            return None
        outcome = plan(job, mine, datetime.now(UTC))
        return act(self._registry, self._recorder, JOB, job, outcome)
