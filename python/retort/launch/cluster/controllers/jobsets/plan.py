"""What is to be done about a JobSet: a pure function, as JobSet's controller decides."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from retort.launch.cluster.controllers.frame.events import Happening
from retort.launch.cluster.controllers.frame.items import (
    condition_of,
    is_going,
    is_true,
    moment,
    name_of,
    set_condition,
    spec_of,
    status_of,
)
from retort.launch.cluster.controllers.frame.outcome import NOTHING, Creation, Outcome, Removal
from retort.launch.cluster.controllers.jobs.making import JOB
from retort.launch.cluster.controllers.jobsets.failures import FAIL, failure_action
from retort.launch.cluster.controllers.jobsets.jobset import (
    JOBSET,
    JobSet,
    ReplicatedJob,
    attempt_of,
    parent_of,
)
from retort.launch.cluster.kinds.errors import JSONObject
from retort.launch.cluster.kinds.table import kind_of

SERVICE = kind_of("v1", "Service")
CONTROLLER = "jobset.sigs.k8s.io/jobset-controller"
_IN_PROGRESS, _STARTED = "StartupPolicyInProgress", "StartupPolicyCompleted"


def plan(item: JSONObject, jobs: Sequence[JSONObject], has_service: bool, now: datetime) -> Outcome:
    """What is to be done about a JobSet.

    Args:
        jobs: those that it controls.
        has_service: whether there is a service of the name of its subdomain.
    """
    if is_going(item) or spec_of(item).get("managedBy", CONTROLLER) != CONTROLLER:
        return NOTHING
    return _Planning(item, jobs, has_service, now).outcome()


class _Planning:
    """One look at a JobSet: decisions, gathered."""

    def __init__(
        self, item: JSONObject, jobs: Sequence[JSONObject], has_service: bool, now: datetime
    ) -> None:
        self.set, self.now, self.has_service = JobSet(item), now, has_service
        self.status: dict[str, Any] = copy.deepcopy(status_of(item))
        self.jobs = {name_of(job): job for job in jobs}
        current = [job for job in jobs if attempt_of(job) >= self.set.restarts]
        self.previous = [job for job in jobs if attempt_of(job) < self.set.restarts]
        self.succeeded = [job for job in current if is_true(status_of(job), "Complete")]
        self.failed = [job for job in current if is_true(status_of(job), "Failed")]
        ended = {name_of(job) for job in (*self.succeeded, *self.failed)}
        self.active = [job for job in current if name_of(job) not in ended]
        self.events: list[Happening] = []
        self.removals: list[Removal] = []
        self.creations: list[Creation] = []
        self.updates: list[JSONObject] = []

    def outcome(self) -> Outcome:
        self.status.setdefault("restarts", 0)
        self.status["replicatedJobsStatus"] = [self._counts(one) for one in self.set.replicated]
        again_at = None
        if is_true(self.status, "Completed") or is_true(self.status, "Failed"):
            self._remove(self.active)
            again_at = self._expiry()
        else:
            self._remove(self.previous)
            if self.failed:
                self._fail()
            elif not self._is_complete():
                self._go_on()
        return Outcome(
            status=self.status,
            events=tuple(self.events),
            updates=tuple((JOB, job) for job in self.updates),
            removals=tuple(self.removals),
            creations=tuple(self.creations),
            again_at=again_at,
        )

    def _counts(self, replicated: ReplicatedJob) -> dict[str, Any]:
        active = [job for job in self.active if parent_of(job) == replicated.name]
        return {
            "name": replicated.name,
            "ready": sum(map(_is_ready, active)),
            "succeeded": sum(parent_of(job) == replicated.name for job in self.succeeded),
            "failed": sum(parent_of(job) == replicated.name for job in self.failed),
            "active": sum(status_of(job).get("active", 0) > 0 for job in active),
            "suspended": sum(bool(spec_of(job).get("suspend")) for job in active),
        }

    def _remove(self, jobs: Sequence[JSONObject]) -> None:
        for job in jobs:
            if not is_going(job):
                self.removals.append(Removal(JOB, job, propagation="Foreground"))

    def _expiry(self) -> datetime | None:
        seconds = self.set.spec.get("ttlSecondsAfterFinished")
        found = condition_of(self.status, "Completed") or condition_of(self.status, "Failed")
        if seconds is None or found is None:
            return None
        expiry = moment(found["lastTransitionTime"]) + timedelta(seconds=seconds)
        if self.now < expiry:
            return expiry
        self.removals.append(Removal(JOBSET, self.set.item, propagation="Foreground"))
        return None

    def _say(
        self, kind: str, reason: str, message: str, *, holds: bool = True, warns: bool = False
    ) -> None:
        """Have the status say a condition, and an event with it, where it is new."""
        found = condition_of(self.status, kind)
        if (found is None and not holds) or (found is not None and found["status"] == str(holds)):
            return
        condition = {"type": kind, "status": str(holds), "reason": reason, "message": message}
        set_condition(self.status, condition, self.now)
        self.events.append(Happening("Warning" if warns else "Normal", reason, message))

    def _fail(self) -> None:
        """Do what the failure policy says: make all jobs anew, or fail."""
        count = self.status.get("restartsCountTowardsMax", 0)
        action = failure_action(self.set.failure_policy, self.failed, count)
        if action.word == FAIL:
            self._say("Failed", action.reason, action.message, warns=True)
            self.status["terminalState"] = "Failed"
            return
        # The jobs that there are belong to an earlier run from now on, and are deleted next.
        self.status["restarts"] += 1
        if action.counts:
            self.status["restartsCountTowardsMax"] = count + 1
        self.events.append(Happening("Warning", action.reason, action.message))

    def _is_complete(self) -> bool:
        policy = self.set.spec.get("successPolicy") or {}
        wanted = policy.get("targetReplicatedJobs") or [one.name for one in self.set.replicated]
        done = sum(parent_of(job) in wanted for job in self.succeeded)
        expected = 1
        if policy.get("operator", "All") == "All":
            expected = sum(one.replicas for one in self.set.replicated if one.name in wanted)
        if not self.succeeded or done < expected:
            return False
        self._say("Completed", "AllJobsCompleted", "jobset completed successfully")
        self.status["terminalState"] = "Completed"
        return True

    def _go_on(self) -> None:
        if self.set.has_names and not self.has_service:
            self.creations.append(Creation(SERVICE, self.set.service()))
        blocked = bool(self.previous) and (
            (self.set.failure_policy or {}).get("restartStrategy") == "BlockingRecreate"
        )
        in_progress = False
        for replicated in self._startable():
            in_progress = self._start(replicated, blocked)
            if in_progress:
                break
        if self.set.in_order and not self.set.suspended:
            self._say_order(in_progress)
        if self.set.suspended:
            for job in self.active:
                if not spec_of(job).get("suspend"):
                    self.updates.append(_suspended(job, True))
            self._say("Suspended", "SuspendedJobs", "jobset is suspended")
        elif not in_progress:
            self._say("Suspended", "ResumeJobs", "jobset is resumed", holds=False)

    def _startable(self) -> Iterator[ReplicatedJob]:
        """Those whose dependencies are so far."""
        counts = {one["name"]: one for one in self.status["replicatedJobsStatus"]}
        replicas = {one.name: one.replicas for one in self.set.replicated}
        for replicated in self.set.replicated:
            if all(_is_reached(one, counts, replicas) for one in replicated.depends_on):
                yield replicated

    def _start(self, replicated: ReplicatedJob, blocked: bool) -> bool:
        """Make the jobs of a template, and let those go on that are suspended.

        Returns:
            Whether the next ones are to wait for them.
        """
        counts = self._counts(replicated)
        waits = self.set.in_order and not self.set.suspended
        if (
            waits
            and replicated.replicas <= counts["ready"] + counts["succeeded"] + counts["failed"]
        ):
            return False
        for index in range(0 if blocked else replicated.replicas):
            if self.set.job_name(replicated, index) not in self.jobs:
                self.creations.append(Creation(JOB, self.set.job(replicated, index)))
        if not self.set.suspended:
            for job in self.active:
                if parent_of(job) == replicated.name and spec_of(job).get("suspend"):
                    self.updates.append(_suspended(job, False))
        return waits

    def _say_order(self, in_progress: bool) -> None:
        if in_progress:
            reason, message = (
                "InOrderStartupPolicyInProgress",
                "in order startup policy is in progress",
            )
            self._say(_IN_PROGRESS, reason, message)
            self._say(_STARTED, reason, message, holds=False)
        else:
            reason, message = (
                "InOrderStartupPolicyCompleted",
                "in order startup policy has completed",
            )
            self._say(_STARTED, reason, message)
            self._say(_IN_PROGRESS, reason, message, holds=False)


def _is_ready(job: JSONObject) -> bool:
    spec, status = spec_of(job), status_of(job)
    wanted = min(spec.get("parallelism", 1), spec.get("completions") or spec.get("parallelism", 1))
    return bool(status.get("succeeded", 0) + status.get("ready", 0) >= wanted)


def _is_reached(
    dependency: Mapping[str, Any], counts: Mapping[str, Any], replicas: Mapping[str, int]
) -> bool:
    found = counts.get(dependency["name"])
    if found is None:
        return False
    words = ["succeeded"]
    if dependency.get("status") == "Ready":
        words += ["ready", "failed"]
    return bool(sum(found[word] for word in words) == replicas[dependency["name"]])


def _suspended(job: JSONObject, value: bool) -> JSONObject:
    job = copy.deepcopy(job)
    job["spec"]["suspend"] = value
    return job
