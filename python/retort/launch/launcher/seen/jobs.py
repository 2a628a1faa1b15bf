"""A job of either operator, as it is on a cluster."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, Literal

from retort.launch.job import RUNS
from retort.launch.launcher.api.client import Api
from retort.launch.launcher.api.resources import JOBS, PYTORCH_JOB, TRAIN_JOB, Object, Resource
from retort.launch.pytorch_job import CONTAINER, QUEUE
from retort.launch.train_job import CONTAINER as NODE

State = Literal["Created", "Suspended", "Running", "Restarting", "Succeeded", "Failed"]
FINISHED = ("Succeeded", "Failed")
_STATES: tuple[State, ...] = ("Failed", "Succeeded", "Suspended", "Restarting", "Running")
"""In the order in which a condition that holds decides."""
_TRUE = "True"
_INSIDE = re.compile(r"\w[-\w.]*(/\w[-\w.]*)*", re.ASCII)


@dataclass(frozen=True)
class ClusterJob:
    """A PyTorchJob or TrainJob.

    Attributes:
        item: as the API has it.
    """

    resource: Resource
    item: Object

    @property
    def name(self) -> str:
        return str(self.item["metadata"]["name"])

    @property
    def namespace(self) -> str:
        return str(self.item["metadata"].get("namespace", ""))

    @property
    def uid(self) -> str:
        return str(self.item["metadata"]["uid"])

    @property
    def title(self) -> str:
        """As kubectl names it."""
        return f"{self.resource.kind.lower()}/{self.name}"

    @property
    def spec(self) -> Mapping[str, Any]:
        return self.item.get("spec") or {}

    @property
    def is_v1(self) -> bool:
        return self.resource == PYTORCH_JOB

    @property
    def run_policy(self) -> Mapping[str, Any]:
        """Where it is said when it runs and how it ends."""
        if self.is_v1:
            return self.spec.get("runPolicy") or {}
        return self.spec

    @property
    def container(self) -> str:
        """The one that trains."""
        return CONTAINER if self.is_v1 else NODE

    @property
    def pod_labels(self) -> str:
        """What selects its pods, by the labels that its operator gives them."""
        if self.is_v1:
            return f"training.kubeflow.org/job-name={self.name}"
        return f"jobset.sigs.k8s.io/jobset-name={self.name}"

    @property
    def nodes(self) -> int:
        """Pods that it shall have."""
        if self.is_v1:
            replicas = self.spec.get("pytorchReplicaSpecs") or {}
            return sum(int(one.get("replicas", 1)) for one in replicas.values())
        return int((self.spec.get("trainer") or {}).get("numNodes", 1))

    @property
    def is_suspended(self) -> bool:
        """Whether it is asked to have no pods."""
        return bool(self.run_policy.get("suspend"))

    @property
    def deadline_s(self) -> int | None:
        """Seconds from its start after which its operator ends it."""
        value = self.run_policy.get("activeDeadlineSeconds")
        return None if value is None else int(value)

    @property
    def keeps_pods(self) -> bool:
        """Whether pods of the job run on, and hold their machines, after it has succeeded."""
        return self.is_v1 and self.run_policy.get("cleanPodPolicy", "None") == "None"

    @property
    def queue(self) -> str:
        """The LocalQueue that it waits in; empty for none."""
        return str((self.item["metadata"].get("labels") or {}).get(QUEUE, ""))

    @property
    def run_name(self) -> str:
        """The directory of its run below that of all runs: what follows `--out` in its arguments."""
        for container in self._containers():
            words = [*(container.get("command") or ()), *(container.get("args") or ())]
            for word, following in pairwise(words):
                inside = str(following).removeprefix(f"{RUNS}/")
                # What leads out of the directory of runs is none of them.
                if word == "--out" and inside != following and _INSIDE.fullmatch(inside):
                    return inside
        return self.name

    @property
    def state(self) -> State:
        """By its conditions; v2 has no word for running."""
        held = {one["type"] for one in self._conditions() if one.get("status") == _TRUE}
        held |= {"Succeeded"} if "Complete" in held else set()
        for state in _STATES:
            if state in held and (state != "Suspended" or self.is_suspended):
                return state
        if self.is_suspended:
            return "Suspended"
        active = (self.item.get("status") or {}).get("jobsStatus") or ()
        return "Running" if any(one.get("active") for one in active) else "Created"

    @property
    def why(self) -> str:
        """What its operator says of a job that has ended."""
        words = {"Succeeded": ("Succeeded", "Complete"), "Failed": ("Failed",)}
        for one in self._conditions():
            if one["type"] in words.get(self.state, ()) and one.get("status") == _TRUE:
                return f"{one.get('reason', '')}: {one.get('message', '')}".strip(": ")
        return ""

    def age_s(self, now: datetime | None = None) -> float:
        """Seconds since it was made."""
        made = datetime.fromisoformat(self.item["metadata"]["creationTimestamp"])
        return ((now or datetime.now(UTC)) - made).total_seconds()

    def suspend_patch(self, suspend: bool) -> Object:
        """What sets whether it shall have no pods."""
        if self.is_v1:
            return {"spec": {"runPolicy": {"suspend": suspend}}}
        return {"spec": {"suspend": suspend}}

    def owns(self, item: Object) -> bool:
        """Whether an object was made for this job, such as a Workload of Kueue."""
        owners = item["metadata"].get("ownerReferences") or ()
        return any(one.get("uid") == self.uid for one in owners)

    def _conditions(self) -> list[Object]:
        return list((self.item.get("status") or {}).get("conditions") or ())

    def _containers(self) -> Iterator[Object]:
        if self.is_v1:
            for one in (self.spec.get("pytorchReplicaSpecs") or {}).values():
                yield from ((one.get("template") or {}).get("spec") or {}).get("containers") or ()
        else:
            yield self.spec.get("trainer") or {}


def job_named(api: Api, name: str) -> ClusterJob | None:
    """The job of a name, of whichever operator; None if there is none."""
    for resource in JOBS:
        item = api.find(resource, name)
        if item is not None:
            return ClusterJob(resource, item)
    return None


def job_of(item: Object) -> ClusterJob:
    """A job as it was rendered or read."""
    return ClusterJob(PYTORCH_JOB if item["kind"] == PYTORCH_JOB.kind else TRAIN_JOB, item)
