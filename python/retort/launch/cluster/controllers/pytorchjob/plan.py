"""What is to be done about a PyTorchJob: a pure function, in the order in which the operator decides.

It follows the training operator 1.9.4 also where that surprises: a job of an elastic policy has succeeded when
any worker has, one that failed by an exit code has no completionTime, and its `ttlSecondsAfterFinished` then
never comes.
"""

import copy
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from retort.launch.cluster.admission.pytorchjob import CONTAINER
from retort.launch.cluster.controllers.frame.events import Happening
from retort.launch.cluster.controllers.frame.items import (
    condition_of,
    exit_code,
    is_active,
    is_going,
    is_true,
    name_of,
    phase_of,
    stamp,
    status_of,
)
from retort.launch.cluster.controllers.frame.outcome import NOTHING, Creation, Outcome, Removal
from retort.launch.cluster.controllers.pytorchjob.abnormal import abnormal
from retort.launch.cluster.controllers.pytorchjob.conditions import (
    CREATED,
    FAILED,
    RESTARTING,
    RESUMED,
    RUNNING,
    SUCCEEDED,
    SUSPENDED,
    is_finished,
    reason_of,
    say,
)
from retort.launch.cluster.controllers.pytorchjob.gang import Gang
from retort.launch.cluster.controllers.pytorchjob.job import (
    MASTER,
    PyTorchJob,
    Replica,
    index_of,
    is_of,
    read_job,
)
from retort.launch.cluster.controllers.pytorchjob.limits import deadline, expiry, limit_reached
from retort.launch.cluster.controllers.pytorchjob.parts import PYTORCHJOB, pod_of, service_of
from retort.launch.cluster.controllers.scheduling.pod_groups import POD_GROUP
from retort.launch.cluster.kinds.errors import JSONObject
from retort.launch.cluster.kinds.kind import Kind
from retort.launch.cluster.kinds.table import POD, kind_of

SERVICE = kind_of("v1", "Service")
_UNKNOWN_CODE = 48879
"""For a pod without a status of its container, as when it was evicted: it is tried again."""
_RETRIED = 128
"""Exit codes from here on are tried again under ExitCode."""


def plan(
    item: JSONObject,
    pods: Sequence[JSONObject],
    services: Sequence[JSONObject],
    now: datetime,
    gang: Gang | None = None,
) -> Outcome:
    """What is to be done about a job.

    Args:
        pods, services: those that it controls.
        gang: whether its pods start all or none; None: they do not.
    """
    job = read_job(item)
    if not job.is_ours or is_going(item):
        return NOTHING
    return _Planning(job, pods, services, now, gang or Gang()).outcome()


class _Planning:
    """One look at a job: decisions, gathered."""

    def __init__(
        self,
        job: PyTorchJob,
        pods: Sequence[JSONObject],
        services: Sequence[JSONObject],
        now: datetime,
        gang: Gang,
    ) -> None:
        self.job, self.pods, self.services, self.now = job, pods, services, now
        self.gang = gang
        self.status: dict[str, Any] = copy.deepcopy(status_of(job.item))
        self.events: list[Happening] = []
        self.removals: list[Removal] = []
        self.creations: list[Creation] = []
        self.updates: list[tuple[Kind, JSONObject]] = []

    def outcome(self) -> Outcome:
        message = f"PyTorchJob {self.job.name} is created."
        if condition_of(self.status, CREATED) is None:
            say(self.status, CREATED, message, self.now)
        if is_finished(self.status):
            return self._finished()
        if self.job.policy.get("suspend"):
            return self._suspended()
        self._resume()
        self.events += [event for pod in self.pods if is_active(pod) for event in abnormal(pod)]
        why = limit_reached(self.job, self.status, self.pods, self.now)
        if why:
            self.status.setdefault("completionTime", stamp(self.now))
            say(self.status, FAILED, why, self.now)
            self._clean()
            self._tell(FAILED, why)
            return self._done(expiry(self.job, self.status))
        self._group()
        if not self.gang.lets_in:
            return self._done(deadline(self.job, self.status))
        for replica in self.job.replicas:
            self._pods(replica)
            self._services(replica)
        self._conclude()
        return self._done(deadline(self.job, self.status))

    def _done(self, again_at: datetime | None) -> Outcome:
        return Outcome(
            status=self.status,
            events=tuple(self.events),
            updates=tuple(self.updates),
            removals=tuple(self.removals),
            creations=tuple(self.creations),
            again_at=again_at,
        )

    def _tell(self, word: str, message: str, warns: bool = False) -> None:
        reason = reason_of(word)
        self.events.append(Happening("Warning" if warns else "Normal", reason, message))

    def _finished(self) -> Outcome:
        self._clean()
        if is_true(self.status, SUCCEEDED):
            for counts in (self.status.get("replicaStatuses") or {}).values():
                counts["succeeded"] = counts.get("succeeded", 0) + counts.pop("active", 0)
        end = expiry(self.job, self.status)
        if end is not None and self.now >= end:
            self.removals.append(Removal(PYTORCHJOB, self.job.item))
            end = None
        return self._done(end)

    def _suspended(self) -> Outcome:
        self._clean()
        for counts in (self.status.get("replicaStatuses") or {}).values():
            counts.pop("active", None)
        message = f"PyTorchJob {self.job.name} is suspended."
        if is_true(self.status, RUNNING):
            say(self.status, RUNNING, message, self.now, holds=False, reason=SUSPENDED)
        if not is_true(self.status, SUSPENDED):
            say(self.status, SUSPENDED, message, self.now)
            self._tell(SUSPENDED, message)
        return self._done(None)

    def _resume(self) -> None:
        if not is_true(self.status, SUSPENDED):
            return
        message = f"PyTorchJob {self.job.name} is resumed."
        say(self.status, SUSPENDED, message, self.now, holds=False, reason=RESUMED)
        self.status["startTime"] = stamp(self.now)  # the deadline begins anew
        self._tell(RESUMED, message)

    def _clean(self) -> None:
        """Remove pods, each with its service: those that the policy names if the job is finished, else all."""
        policy = (
            self.job.policy.get("cleanPodPolicy", "None") if is_finished(self.status) else "All"
        )
        services = {name_of(one): one for one in self.services}
        for pod in self.pods:
            runs = phase_of(pod) in ("Running", "Pending")
            if policy == "None" or (policy == "Running" and not runs):
                continue
            self._remove(pod)
            service = services.get(name_of(pod))
            if service is not None:
                self.removals.append(Removal(SERVICE, service, "SuccessfulDeleteService"))

        for group in self.gang.groups:
            if not is_going(group):
                self.removals.append(Removal(POD_GROUP, group, "SuccessfulDeletePodGroup"))

    def _group(self) -> None:
        wanted = self.gang.change(self.job)
        if wanted is not None and self.gang.groups:
            self.updates.append((POD_GROUP, wanted))
        elif wanted is not None:
            self.creations.append(Creation(POD_GROUP, wanted))

    def _remove(self, pod: JSONObject) -> None:
        if not is_going(pod):
            self.removals.append(Removal(POD, pod, "SuccessfulDeletePod"))

    def _pods(self, replica: Replica) -> None:
        """Make pods that are not there, and judge those that have failed."""
        counts = dict.fromkeys(("active", "succeeded", "failed"), 0)
        there = {index_of(pod): pod for pod in self.pods if is_of(replica, pod)}
        for index in sorted({*there, *range(replica.number)}):
            pod = there.get(index)
            if pod is None:
                self._make(replica, index)
                continue
            if not 0 <= index < replica.number:
                self._remove(pod)
            self._judge(replica, pod)
            phase = phase_of(pod)
            if phase == "Running":
                counts["failed" if is_going(pod) else "active"] += 1
            elif phase in ("Succeeded", "Failed"):
                counts[phase.lower()] += 1
        listed = ",".join(
            f"{key}={value}" for key, value in sorted(self._selector(replica).items())
        )
        kept = {key: value for key, value in counts.items() if value}
        self.status.setdefault("replicaStatuses", {})[replica.type] = {**kept, "selector": listed}

    def _selector(self, replica: Replica) -> dict[str, str]:
        labels = self.job.labels_of(replica, 0)
        return {key: value for key, value in labels.items() if not key.endswith("replica-index")}

    def _make(self, replica: Replica, index: int) -> None:
        if (replica.template["spec"] or {}).get("restartPolicy"):
            word = "Restart policy in pod template will be overwritten by restart policy in replica spec"
            self.events.append(Happening("Warning", "SetPodTemplateRestartPolicy", word))
        if self.gang.leaves(replica):
            word = "Another scheduler is specified when gang-scheduling is enabled and it will not be overwritten"
            self.events.append(Happening("Warning", "SetPodTemplateSchedulerName", word))
        pod = pod_of(self.job, replica, index)
        self.gang.mark(self.job, replica, pod)
        self.creations.append(Creation(POD, pod, "SuccessfulCreatePod"))

    def _judge(self, replica: Replica, pod: JSONObject) -> None:
        code = exit_code(pod, CONTAINER)
        if code is not None:
            where = f"{self.job.namespace}.{name_of(pod)}"
            word = f"Pod: {where} exited with code {code}"
            self.events.append(Happening("Normal", "ExitedWithCode", word))
        if phase_of(pod) != "Failed":
            return
        retried = (_UNKNOWN_CODE if code is None else code) >= _RETRIED
        if replica.restarts in ("OnFailure", "Always") or (
            replica.restarts == "ExitCode" and retried
        ):
            self._remove(pod)
            word = f"job {self.job.name} is restarting because {replica.type} replica(s) failed."
            self._tell(RESTARTING, word, warns=True)
            say(self.status, RESTARTING, word, self.now)
        elif replica.restarts == "ExitCode":
            word = f'job "{self.job.name}" is failing because "{replica.type}" replica(s) failed.'
            self._tell(FAILED, word, warns=True)
            say(self.status, FAILED, word, self.now)

    def _services(self, replica: Replica) -> None:
        there = {index_of(one): one for one in self.services if is_of(replica, one)}
        for index in range(replica.number):
            if index not in there:
                service = service_of(self.job, replica, index)
                self.creations.append(Creation(SERVICE, service, "SuccessfulCreateService"))
        for index, service in there.items():
            if not 0 <= index < replica.number:
                self.removals.append(Removal(SERVICE, service, "SuccessfulDeleteService"))

    def _conclude(self) -> None:
        """What follows for the job from how many of its pods run, have succeeded, have failed."""
        self.status.setdefault("startTime", stamp(self.now))
        has_master = self.job.replica(MASTER) is not None
        for replica, counts in self._counted():
            active, succeeded = counts.get("active", 0), counts.get("succeeded", 0)
            if has_master:
                if replica.type == MASTER and self._concluded_by_master(active, succeeded):
                    return
            else:
                self._conclude_by_workers(replica, active, succeeded)
            failed = counts.get("failed", 0)
            if not failed or replica.number <= succeeded + active:
                continue
            word = f"because {failed} {replica.type} replica(s) failed."
            if replica.restarts != "Never":
                message = f"PyTorchJob {self.job.name} is restarting {word}"
                self._tell(RESTARTING, message, warns=True)
                say(self.status, RESTARTING, message, self.now)
            else:
                message = f"PyTorchJob {self.job.name} is failed {word}"
                self._tell(FAILED, message)
                self.status.setdefault("completionTime", stamp(self.now))
                say(self.status, FAILED, message, self.now)

    def _counted(self) -> Iterator[tuple[Replica, dict[str, Any]]]:
        for replica in self.job.replicas:
            yield replica, self.status["replicaStatuses"][replica.type]

    def _concluded_by_master(self, active: int, succeeded: int) -> bool:
        if active:
            say(self.status, RUNNING, f"PyTorchJob {self.job.name} is running.", self.now)
        if not succeeded:
            return False
        self._succeed(f"PyTorchJob {self.job.name} is successfully completed.")
        return True

    def _conclude_by_workers(self, replica: Replica, active: int, succeeded: int) -> None:
        where = f"PyTorchJob {self.job.namespace}/{self.job.name}"
        if succeeded == replica.number or (self.job.elastic is not None and succeeded):
            self._succeed(f"{where} successfully completed.")
        elif active:
            say(self.status, RUNNING, f"{where} is running.", self.now)

    def _succeed(self, message: str) -> None:
        self._tell(SUCCEEDED, message)
        self.status.setdefault("completionTime", stamp(self.now))
        say(self.status, SUCCEEDED, message, self.now)
