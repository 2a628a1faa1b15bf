"""What is to be done about a TrainJob: a pure function, as the trainer decides."""

import copy
from datetime import datetime, timedelta
from typing import Any

from retort.launch.cluster.controllers.frame.events import Happening
from retort.launch.cluster.controllers.frame.items import (
    DEADLINE,
    annotations_of,
    condition_of,
    is_going,
    is_true,
    moment,
    set_condition,
    spec_of,
    status_of,
)
from retort.launch.cluster.controllers.frame.outcome import NOTHING, Creation, Outcome, Removal
from retort.launch.cluster.controllers.jobsets.building import RUNTIME, jobset_of
from retort.launch.cluster.controllers.jobsets.jobset import JOBSET
from retort.launch.cluster.kinds.errors import JSONObject

CONTROLLER = "trainer.kubeflow.org/trainjob-controller"
_ENDS = (("Completed", "Complete"), ("Failed", "Failed"))
"""Conditions of a JobSet, and what a TrainJob calls them."""


def plan_training(
    job: JSONObject, runtime: JSONObject | None, jobset: JSONObject | None, now: datetime
) -> Outcome:
    """What is to be done about a TrainJob.

    Args:
        runtime: the TrainingRuntime that it names, in its namespace.
        jobset: of its name, that it controls.
    """
    if is_going(job) or spec_of(job).get("managedBy", CONTROLLER) != CONTROLLER:
        return NOTHING
    status: dict[str, Any] = copy.deepcopy(status_of(job))
    creations: tuple[Creation, ...] = ()
    updates: tuple[tuple[Any, JSONObject], ...] = ()
    events: tuple[Happening, ...] = ()
    finished = is_true(status, "Complete") or is_true(status, "Failed")
    if not finished and runtime is None:
        if condition_of(status, "Failed") is None:
            events = (_without_runtime(job),)
    elif not finished and runtime is not None:
        wanted = jobset_of(job, runtime)
        if jobset is None:
            creations = (Creation(JOBSET, wanted),)
        elif _is_suspended(job) != _is_suspended(jobset):
            updates = ((JOBSET, {**jobset, "spec": wanted["spec"]}),)
    _say_suspended(job, status, now)
    if jobset is not None:
        _follow(status, jobset, now)
    outcome = Outcome(status=status, events=events, updates=updates, creations=creations)
    return _within_deadline(job, jobset, outcome, now)


def _is_suspended(item: JSONObject) -> bool:
    return bool(spec_of(item).get("suspend"))


def _without_runtime(job: JSONObject) -> Happening:
    reference = spec_of(job).get("runtimeRef") or {}
    kind, name = reference.get("kind", "ClusterTrainingRuntime"), reference.get("name", "")
    why = f"{kind} specified in TrainJob is not found"
    if kind == RUNTIME.kind:
        why = f'{why}: {RUNTIME.resource} "{name}" not found'
    message = f"TrainJob resources reconciliation failed: {why}"
    return Happening("Warning", "TrainJobResourcesCreationFailed", message)


def _say_suspended(job: JSONObject, status: dict[str, Any], now: datetime) -> None:
    condition = {"type": "Suspended", "status": "True", "reason": "Suspended"}
    if _is_suspended(job):
        set_condition(status, {**condition, "message": "TrainJob is suspended"}, now)
    elif is_true(status, "Suspended"):
        condition |= {"status": "False", "reason": "Resumed"}
        set_condition(status, {**condition, "message": "TrainJob is resumed"}, now)


def _follow(status: dict[str, Any], jobset: JSONObject, now: datetime) -> None:
    """Say of a job what its JobSet says of itself."""
    theirs = status_of(jobset)
    for word, ours in _ENDS:
        found = condition_of(theirs, word)
        if found is not None and found["status"] == "True":
            condition = {key: found[key] for key in ("status", "reason", "message")}
            set_condition(status, {"type": ours, **condition}, now)
    status["jobsStatus"] = copy.deepcopy(theirs.get("replicatedJobsStatus") or [])


def _within_deadline(
    job: JSONObject, jobset: JSONObject | None, outcome: Outcome, now: datetime
) -> Outcome:
    """The outcome, or the end of a job whose time is over."""
    status: dict[str, Any] = dict(outcome.status or {})
    seconds = spec_of(job).get("activeDeadlineSeconds")
    finished = is_true(status, "Complete") or is_true(status, "Failed")
    if not seconds or finished or _is_suspended(job):
        return outcome
    start = job["metadata"]["creationTimestamp"]
    resumed = condition_of(status, "Suspended")
    if resumed is not None and resumed["status"] == "False":
        start = resumed["lastTransitionTime"]
    deadline = moment(start) + timedelta(seconds=seconds)
    if now < deadline and annotations_of(job).get(DEADLINE) != "passed":
        return Outcome(
            status=status,
            events=outcome.events,
            updates=outcome.updates,
            creations=outcome.creations,
            again_at=deadline,
        )
    message = "TrainJob exceeded its active deadline"
    condition = {"type": "Failed", "status": "True", "reason": "DeadlineExceeded"}
    set_condition(status, {**condition, "message": message}, now)
    return Outcome(status=status, removals=(Removal(JOBSET, jobset),) if jobset else ())
