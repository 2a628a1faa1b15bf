"""The controllers of JobSets and TrainJobs: they read, have it planned, and act."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from retort.launch.cluster.controllers.frame.events import Recorder
from retort.launch.cluster.controllers.frame.items import (
    ObjectKey,
    is_controlled_by,
    key_of,
    spec_of,
)
from retort.launch.cluster.controllers.frame.loop import Mapped
from retort.launch.cluster.controllers.frame.outcome import act
from retort.launch.cluster.controllers.frame.watching import controlled, its_controller, itself
from retort.launch.cluster.controllers.jobs.making import JOB
from retort.launch.cluster.controllers.jobsets.building import RUNTIME, TRAINJOB
from retort.launch.cluster.controllers.jobsets.jobset import JOBSET, JobSet
from retort.launch.cluster.controllers.jobsets.plan import SERVICE, plan
from retort.launch.cluster.controllers.jobsets.training import plan_training
from retort.launch.cluster.kinds.errors import JSONObject
from retort.launch.cluster.kinds.kind import Kind
from retort.launch.cluster.objects.registry import Registry
from retort.launch.cluster.objects.selectors import Selection


class JobSets:
    """Acts on JobSets, and on the jobs and services that they control."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._recorder = Recorder(registry, "jobset-controller")

    @property
    def watched(self) -> Mapping[Kind, Mapped]:
        mine = its_controller(JOBSET)
        return {JOBSET: itself, JOB: mine, SERVICE: mine}

    def reconcile(self, key: ObjectKey) -> datetime | None:
        item = self._registry.find(JOBSET, *key)
        if item is None:
            return None
        jobs = controlled(self._registry, JOB, item)
        there = self._registry.find(SERVICE, key.namespace, JobSet(item).subdomain) is not None
        outcome = plan(item, jobs, there, datetime.now(UTC))
        return act(self._registry, self._recorder, JOBSET, item, outcome)


class TrainJobs:
    """Acts on TrainJobs, and on the JobSets that they control."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._recorder = Recorder(registry, "trainjob-controller")

    @property
    def watched(self) -> Mapping[Kind, Mapped]:
        return {TRAINJOB: itself, JOBSET: its_controller(TRAINJOB), RUNTIME: self._of_runtime}

    def reconcile(self, key: ObjectKey) -> datetime | None:
        job = self._registry.find(TRAINJOB, *key)
        if job is None:
            return None
        reference = spec_of(job).get("runtimeRef") or {}
        runtime = None
        if reference.get("kind") == RUNTIME.kind:
            runtime = self._registry.find(RUNTIME, key.namespace, reference.get("name", ""))
        jobset = self._registry.find(JOBSET, *key)
        if jobset is not None and not is_controlled_by(jobset, job):
            jobset = None
        outcome = plan_training(job, runtime, jobset, datetime.now(UTC))
        return act(self._registry, self._recorder, TRAINJOB, job, outcome)

    def _of_runtime(self, runtime: JSONObject) -> Iterator[ObjectKey]:
        namespace, name = key_of(runtime)
        for job in self._registry.list(TRAINJOB, Selection(namespace)).items:
            if (spec_of(job).get("runtimeRef") or {}).get("name") == name:
                yield key_of(job)
