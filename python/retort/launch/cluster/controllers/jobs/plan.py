"""What is to be done about a Job: a pure function
(https://kubernetes.io/docs/concepts/workloads/controllers/job/)."""

import copy
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from retort.launch.cluster.controllers.frame.events import Happening
from retort.launch.cluster.controllers.frame.items import (
    DEADLINE,
    annotations_of,
    condition_of,
    earliest,
    is_going,
    is_true,
    moment,
    phase_of,
    set_condition,
    spec_of,
    stamp,
    status_of,
)
from retort.launch.cluster.controllers.frame.outcome import NOTHING, Creation, Outcome, Removal
from retort.launch.cluster.controllers.jobs.making import JOB, pod_of
from retort.launch.cluster.controllers.jobs.policy import judged
from retort.launch.cluster.controllers.jobs.tracking import (
    index_of,
    is_tracked,
    tallied,
    untracked,
)
from retort.launch.cluster.kinds.errors import JSONObject
from retort.launch.cluster.kinds.table import POD

CONTROLLER = "kubernetes.io/job-controller"
_FIRST_S, _LONGEST_S = 10, 600
"""Before a failed pod is replaced: twice as long after each that fails in a row."""


def plan(job: JSONObject, pods: Sequence[JSONObject], now: datetime) -> Outcome:
    """What is to be done about a job.

    Args:
        pods: those that it controls.
    """
    if spec_of(job).get("managedBy", CONTROLLER) != CONTROLLER:
        return NOTHING
    if is_going(job):
        return Outcome(updates=_freed(pods))
    return _Planning(job, pods, now).outcome()


def _freed(pods: Iterable[JSONObject]) -> tuple[tuple[Any, JSONObject], ...]:
    return tuple((POD, untracked(pod)) for pod in pods if is_tracked(pod))


class _Planning:
    """One look at a job: decisions, gathered."""

    def __init__(self, job: JSONObject, pods: Sequence[JSONObject], now: datetime) -> None:
        self.job, self.spec, self.pods, self.now = job, spec_of(job), pods, now
        self.status: dict[str, Any] = copy.deepcopy(status_of(job))
        self.events: list[Happening] = []
        self.removals: list[Removal] = []
        self.freed: list[JSONObject] = []
        self.creations: list[Creation] = []
        self.again_at: datetime | None = None

    def outcome(self) -> Outcome:
        if is_true(self.status, "Complete") or is_true(self.status, "Failed"):
            return self._finished()
        suspended = bool(self.spec.get("suspend"))
        if "startTime" not in self.status and not suspended:
            self.status["startTime"] = stamp(self.now)
        self.tally = tallied(self.spec, self.status, self.pods)
        self.freed += self.tally.freed
        ending = condition_of(self.status, "FailureTarget")
        if ending is None and not is_true(self.status, "SuccessCriteriaMet"):
            ending = self._failure()
        if ending is not None:
            self._fail(ending)
        elif self._is_complete():
            self._complete()
        else:
            self._suspend(suspended)
            if suspended:
                self._shrink(self.tally.active)
            else:
                self._manage()
        self._count()
        return Outcome(
            status=self.status,
            events=tuple(self.events),
            updates=_freed(self.freed),
            removals=tuple(self.removals),
            creations=tuple(self.creations),
            again_at=self.again_at,
        )

    def _finished(self) -> Outcome:
        """Free what pods there are, and delete the job when its time is over."""
        end, seconds = self._ended_at(), self.spec.get("ttlSecondsAfterFinished")
        expiry = None if seconds is None else end + timedelta(seconds=seconds)
        if expiry is not None and self.now >= expiry:
            return Outcome(removals=(Removal(JOB, self.job, propagation="Foreground"),))
        return Outcome(updates=_freed(self.pods), again_at=expiry)

    def _ended_at(self) -> datetime:
        found = condition_of(self.status, "Complete") or condition_of(self.status, "Failed") or {}
        return moment(found["lastTransitionTime"])

    def _say(self, kind: str, reason: str, message: str, *, holds: bool = True) -> bool:
        """Have the status say a condition.

        Returns:
            Whether it did not before.
        """
        condition = {"type": kind, "status": str(holds), "reason": reason, "message": message}
        found = condition_of(self.status, kind) or {}
        if all(found.get(key) == value for key, value in condition.items()):
            return False
        return set_condition(self.status, {**condition, "lastProbeTime": stamp(self.now)}, self.now)

    def _failure(self) -> dict[str, str] | None:
        """Why the job fails, if it does."""
        if self.tally.failing:
            return {"reason": "PodFailurePolicy", "message": self.tally.failing}
        if self._is_past_backoff():
            message = "Job has reached the specified backoff limit"
            return {"reason": "BackoffLimitExceeded", "message": message}
        deadline = self._deadline()
        if deadline is not None:
            is_passed = annotations_of(self.job).get(DEADLINE) == "passed"
            if self.now >= deadline or is_passed:
                message = "Job was active longer than specified deadline"
                return {"reason": "DeadlineExceeded", "message": message}
            self.again_at = deadline
        return None

    def _is_past_backoff(self) -> bool:
        limit = self.spec.get("backoffLimit", 6)
        if self.tally.failed > limit:
            return True
        if self.spec["template"]["spec"].get("restartPolicy") != "OnFailure":
            return False
        restarts = sum(
            container.get("restartCount", 0)
            for pod in self.tally.active
            for lists in ("initContainerStatuses", "containerStatuses")
            for container in status_of(pod).get(lists) or ()
        )
        return bool(restarts > 0 if limit == 0 else restarts >= limit)

    def _deadline(self) -> datetime | None:
        seconds, start = self.spec.get("activeDeadlineSeconds"), self.status.get("startTime")
        if seconds is None or start is None or self.spec.get("suspend"):
            return None
        return moment(start) + timedelta(seconds=seconds)

    def _fail(self, why: dict[str, Any]) -> None:
        """End what runs; the job has failed when nothing does, and everything is counted."""
        reason, message = why["reason"], why["message"]
        self._say("FailureTarget", reason, message)
        for pod in self.tally.active:
            self.removals.append(Removal(POD, pod, "SuccessfulDelete"))
        if not self.tally.active and self._is_settled():
            self._say("Failed", reason, message)
            self.events.append(Happening("Warning", reason, message))

    def _is_settled(self) -> bool:
        return not self.tally.terminating and not self.status["uncountedTerminatedPods"]

    def _is_complete(self) -> bool:
        completions = self.spec.get("completions")
        if completions is None:
            return self.tally.succeeded > 0 and not self.tally.active
        return bool(self.tally.succeeded >= completions)

    def _complete(self) -> None:
        reason, message = "CompletionsReached", "Reached expected number of succeeded pods"
        self._say("SuccessCriteriaMet", reason, message)
        self._shrink(self.tally.active)
        if self.tally.active or not self._is_settled():
            return
        self._say("Complete", reason, message)
        self.status["completionTime"] = stamp(self.now)
        self.events.append(Happening("Normal", "Completed", "Job completed"))

    def _suspend(self, suspended: bool) -> None:
        if suspended:
            if self._say("Suspended", "JobSuspended", "Job suspended"):
                self.events.append(Happening("Normal", "Suspended", "Job suspended"))
            self.status.pop("startTime", None)
        elif is_true(self.status, "Suspended"):
            self._say("Suspended", "JobResumed", "Job resumed", holds=False)
            self.events.append(Happening("Normal", "Resumed", "Job resumed"))
            self.status["startTime"] = stamp(self.now)

    def _shrink(self, pods: Iterable[JSONObject]) -> None:
        """Remove pods that are not wanted any more, and that do not count."""
        for pod in pods:
            self.freed.append(pod)
            self.removals.append(Removal(POD, pod, "SuccessfulDelete"))

    def _manage(self) -> None:
        """Have as many pods as are wanted."""
        if self.spec.get("completionMode") == "Indexed":
            self._manage_indexes()
            return
        active, parallelism = self.tally.active, self.spec.get("parallelism", 1)
        completions = self.spec.get("completions")
        if completions is None:
            wanted = len(active) if self.tally.succeeded else parallelism
        else:
            wanted = min(parallelism, completions - self.tally.succeeded)
        self._shrink(_least_ready(active)[: max(len(active) - wanted, 0)])
        missing = wanted - len(active)
        if self.spec.get("podReplacementPolicy") == "Failed":
            missing -= len(self.tally.terminating)
        self._make([None] * max(missing, 0))

    def _manage_indexes(self) -> None:
        wanted = self.spec.get("parallelism", 1)
        completions = self.spec.get("completions", 0)
        running: dict[int, JSONObject] = {}
        extra: list[JSONObject] = []
        for pod in self.tally.active:
            index = index_of(pod)
            if index is None or index >= completions or index in running:
                extra.append(pod)
            else:
                running[index] = pod
        surplus = sorted(running, reverse=True)[: max(len(running) - wanted, 0)]
        self._shrink([*extra, *(running[index] for index in surplus)])
        busy = set(running)
        if self.spec.get("podReplacementPolicy") == "Failed":
            busy |= {
                index for pod in self.tally.terminating if (index := index_of(pod)) is not None
            }
        free = [one for one in range(completions) if one not in busy | self.tally.indexes]
        self._make(free[: max(wanted - len(busy), 0)])

    def _make(self, indexes: Sequence[int | None]) -> None:
        ready_at = self._replaced_at()
        if indexes and ready_at is not None and self.now < ready_at:
            self.again_at = earliest((self.again_at, ready_at))
            return
        for index in indexes:
            self.creations.append(Creation(POD, pod_of(self.job, index), "SuccessfulCreate"))

    def _replaced_at(self) -> datetime | None:
        """Until when a pod is not made anew, as others have failed."""
        last = max((_end_of(pod) for pod in self.pods if phase_of(pod) == "Succeeded"), default="")
        failures = [
            _end_of(pod)
            for pod in self.pods
            if phase_of(pod) == "Failed" and judged(self.spec, pod).action != "Ignore"
        ]
        failures = [end for end in failures if end > last]
        if not failures:
            return None
        seconds = min(_FIRST_S * 2 ** min(len(failures) - 1, 10), _LONGEST_S)
        return moment(max(failures)) + timedelta(seconds=seconds)

    def _count(self) -> None:
        """What the status says of the pods, once all of this is done."""
        going = {removal.item["metadata"]["uid"] for removal in self.removals}
        staying = [pod for pod in self.tally.active if pod["metadata"]["uid"] not in going]
        self.status["active"] = len(staying) + len(self.creations)
        self.status["ready"] = sum(is_true(status_of(pod), "Ready") for pod in staying)
        ending = [pod for pod in self.tally.active if pod["metadata"]["uid"] in going]
        self.status["terminating"] = len(self.tally.terminating) + sum(
            bool(spec_of(pod).get("nodeName")) for pod in ending
        )
        for word in ("active", "succeeded", "failed"):
            if not self.status.get(word):
                self.status.pop(word, None)


def _least_ready(pods: Sequence[JSONObject]) -> list[JSONObject]:
    """Pods, those first whose loss costs least."""
    return sorted(
        pods,
        key=lambda pod: (
            bool(spec_of(pod).get("nodeName")),
            phase_of(pod) == "Running",
            is_true(status_of(pod), "Ready"),
        ),
    )


def _end_of(pod: JSONObject) -> str:
    """When a pod has ended, as far as it is known."""
    status = status_of(pod)
    ends = [
        ((one.get("state") or {}).get("terminated") or {}).get("finishedAt") or ""
        for one in status.get("containerStatuses") or ()
    ]
    known = max(ends, default="")
    return known or str(pod["metadata"].get("creationTimestamp", ""))
