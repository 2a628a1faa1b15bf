"""Counting pods that have ended, each once, though they may be deleted at any time
(https://kubernetes.io/docs/concepts/workloads/controllers/job/#job-tracking-with-finalizers).

A pod has a finalizer until its end is in its job's status: first its uid under `uncountedTerminatedPods`, then,
when it has no finalizer any more, in the number.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from retort.launch.cluster.controllers.frame.items import (
    annotations_of,
    is_active,
    is_going,
    phase_of,
)
from retort.launch.cluster.controllers.jobs.policy import judged
from retort.launch.cluster.kinds.errors import JSONObject

FINALIZER = "batch.kubernetes.io/job-tracking"
INDEX = "batch.kubernetes.io/job-completion-index"


@dataclass(frozen=True)
class Tally:
    """The pods of a job, and how many have ended.

    Attributes:
        active: that run or will.
        terminating: that are being deleted and have not ended.
        succeeded, failed: of all times.
        indexes: that are done, of an Indexed job.
        failing: why the job fails by its policy; empty if it does not.
        freed: pods whose finalizer is to be taken away.
    """

    active: list[JSONObject]
    terminating: list[JSONObject]
    succeeded: int
    failed: int
    indexes: frozenset[int]
    failing: str
    freed: list[JSONObject]


def is_tracked(pod: JSONObject) -> bool:
    return FINALIZER in (pod["metadata"].get("finalizers") or ())


def untracked(pod: JSONObject) -> JSONObject:
    """A copy of a pod without the finalizer."""
    pod = copy.deepcopy(pod)
    listed = pod["metadata"].get("finalizers") or ()
    pod["metadata"]["finalizers"] = [one for one in listed if one != FINALIZER]
    return pod


def index_of(pod: JSONObject) -> int | None:
    """Which completion a pod of an Indexed job is for."""
    text = annotations_of(pod).get(INDEX, "")
    return int(text) if text.isdecimal() else None


def has_failed(spec: Mapping[str, Any], pod: JSONObject) -> bool:
    """Whether a pod counts as failed: when it is being deleted, unless its job waits for the end of such."""
    if phase_of(pod) == "Failed":
        return True
    if not is_going(pod) or phase_of(pod) == "Succeeded":
        return False
    never_ran = not pod["metadata"].get("deletionGracePeriodSeconds")
    return spec.get("podReplacementPolicy") != "Failed" or never_ran


def tallied(spec: Mapping[str, Any], status: dict[str, Any], pods: Sequence[JSONObject]) -> Tally:
    """Count the pods of a job. `status` is brought to say what was counted."""
    uncounted = copy.deepcopy(status.get("uncountedTerminatedPods") or {})
    tracked = {pod["metadata"]["uid"] for pod in pods if is_tracked(pod)}
    indexed = spec.get("completionMode") == "Indexed"
    for word in ("succeeded", "failed"):
        listed = uncounted.get(word) or []
        done = [uid for uid in listed if uid not in tracked]
        if done:
            status[word] = status.get(word, 0) + len(done)
        uncounted[word] = []  # the others are found again below
    indexes, failing, freed = set(read_indexes(status.get("completedIndexes", ""))), "", []
    for pod in pods:
        if not is_tracked(pod):
            continue
        uid = pod["metadata"]["uid"]
        if phase_of(pod) == "Succeeded":
            index = index_of(pod)
            if not indexed:
                _note(uncounted["succeeded"], uid)
            elif index is not None and index < spec.get("completions", 0):
                indexes.add(index)
            freed.append(pod)
        elif has_failed(spec, pod):
            judgement = judged(spec, pod)
            if judgement.action != "Ignore":
                _note(uncounted["failed"], uid)
            if judgement.action == "FailJob":
                failing = failing or judgement.message
            freed.append(pod)
    if indexed:
        status["completedIndexes"] = write_indexes(indexes)
        status["succeeded"] = len(indexes)
    status["uncountedTerminatedPods"] = {word: uids for word, uids in uncounted.items() if uids}
    return Tally(
        active=[pod for pod in pods if is_active(pod)],
        terminating=[
            pod for pod in pods if is_going(pod) and phase_of(pod) not in ("Succeeded", "Failed")
        ],
        succeeded=status.get("succeeded", 0) + len(uncounted["succeeded"]),
        failed=status.get("failed", 0) + len(uncounted["failed"]),
        indexes=frozenset(indexes),
        failing=failing,
        freed=freed,
    )


def _note(uids: list[str], uid: str) -> None:
    if uid not in uids:
        uids.append(uid)


def read_indexes(text: str) -> list[int]:
    """The numbers of `1,3-5`."""
    found: list[int] = []
    for part in text.split(",") if text else ():
        first, _, last = part.partition("-")
        found.extend(range(int(first), int(last or first) + 1))
    return found


def write_indexes(indexes: set[int]) -> str:
    """Numbers as `1,3-5`."""
    parts: list[list[int]] = []
    for index in sorted(indexes):
        if parts and index == parts[-1][-1] + 1:
            parts[-1].append(index)
        else:
            parts.append([index])
    return ",".join(
        (
            str(part[0])
            if len(part) == 1
            else f"{part[0]}-{part[-1]}" if len(part) > 2 else f"{part[0]},{part[1]}"
        )
        for part in parts
    )
