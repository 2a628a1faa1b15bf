"""Why a job does not run, or not as it should, and what mends it: each in one line.

The words are those of Kubernetes 1.37 (kube-scheduler, kubelet), of the operators, and of Kueue.
"""

import re
from collections.abc import Iterator, Sequence

from retort.core.errors import shown
from retort.launch.launcher.api.resources import Object
from retort.launch.launcher.seen.cause import Cause, Seen
from retort.launch.launcher.seen.pod_causes import ended_causes, pod_causes
from retort.launch.launcher.seen.pods import PENDING, Pod

_REFUSED = ("FailedCreatePod", "FailedCreate", "FailedCreateService", "JobCreationFailed")
_PULLING, _PULLED = "Pulling", "Pulled"


def causes(seen: Seen) -> list[Cause]:
    """All that is wrong now, each thing once, however many pods have it."""
    found = [
        *_queued(seen),
        *_not_created(seen),
        *_not_let_in(seen),
        *(cause for pod in seen.pods for cause in pod_causes(pod, seen)),
        *_gang(seen),
        *_left_over(seen),
    ]
    kept: dict[str, Cause] = {}
    for cause in found:
        kept.setdefault(f"{cause.what}; {cause.mend}", cause)
    return list(kept.values())


def outcome_causes(seen: Seen) -> list[Cause]:
    """Why a job has failed."""
    found = [cause for pod in seen.pods for cause in ended_causes(pod) if cause is not None]
    if "DeadlineExceeded" in seen.job.why or "active longer than" in seen.job.why:
        mend = "resume it with a later deadline; it goes on from its newest checkpoint"
        found.insert(0, Cause(seen.job.title, f"its deadline has passed ({seen.job.why})", mend))
    return found or [
        Cause(
            seen.job.title, seen.job.why or "has failed", f"see kubectl describe {seen.job.title}"
        )
    ]


def _queued(seen: Seen) -> Iterator[Cause]:
    job = seen.job
    if not job.queue or not job.is_suspended:
        return
    if seen.queue_is_there is False:
        yield Cause(
            job.title,
            f"waits in the queue {job.queue}, which is not there",
            f"give another queue (kubectl get localqueues), or have {job.queue} made",
        )
        return
    if seen.workloads is None:
        mend = "have Kueue installed, or take queue out of the job"
        yield Cause(
            job.title, f"waits in the queue {job.queue}, and the cluster has no Kueue", mend
        )
        return
    for workload in seen.workloads:
        if not job.owns(workload):
            continue
        if (workload.get("spec") or {}).get("active") is False:
            continue  # so it was asked to be, by `cancel`
        for one in (workload.get("status") or {}).get("conditions") or ():
            if one["type"] == "QuotaReserved" and one["status"] != "True" and one.get("message"):
                said = shown(one["message"])
                yield Cause(job.title, f"waits in the queue {job.queue}: {said}", _queue_mend(said))


def _queue_mend(said: str) -> str:
    if "exist" in said or "inactive" in said:
        return "give another queue (kubectl get localqueues), or have that one mended"
    if "insufficient" in said and "maximum capacity" in said:
        return "ask for fewer nodes or GPUs than the queue can ever have, or give another queue"
    return "it starts when others end; kubectl get workloads shows who is before it"


def _not_created(seen: Seen) -> Iterator[Cause]:
    """Pods that the API server refuses are nowhere: only events tell of them."""
    if len(seen.pods) >= seen.job.nodes:
        return
    for event in seen.events:
        if event.get("reason") not in _REFUSED:
            continue
        said = shown(str(event.get("message", "")).strip())
        of = seen.job.title
        if "exceeded quota" in said or "failed quota" in said:
            mend = "ask for less, or have the ResourceQuota of the namespace raised (kubectl describe quota)"
            yield Cause(of, f"no room in the namespace's quota for its pods: {said}", mend)
        elif "violates PodSecurity" in said or "denied the request" in said or "forbidden" in said:
            mend = "mend in the job what it names, or ask who keeps the policy of the namespace"
            yield Cause(of, f"its pods are refused by policy: {said}", mend)
        else:
            yield Cause(of, f"its pods cannot be made: {said}", "mend what it names in the job")


def _not_let_in(seen: Seen) -> Iterator[Cause]:
    """With gang scheduling, no pod is made until there is room for all."""
    if seen.pods:
        return
    for event in seen.events:
        about = (event.get("involvedObject") or {}).get("kind")
        if about == "PodGroup" and event.get("reason") == "Unschedulable":
            said = shown(str(event.get("message", "")).strip())
            yield Cause(
                seen.job.title,
                f"there is no room for all its {seen.job.nodes} pods, so none is started: {said}",
                "it starts when others end; or ask for fewer nodes, GPUs or cores",
            )


def _gang(seen: Seen) -> Iterator[Cause]:
    """Some pods of a group have machines and wait for the others, which have none."""
    live = [one for one in seen.pods if one.is_live]
    held = [one for one in seen.pods if one.condition("PodScheduled").get("status") == "False"]
    if live and held:
        gpus = sum(one.gpus for one in live)
        holding = f"and hold {gpus} GPUs " if gpus else ""
        yield Cause(
            seen.job.title,
            f"{len(live)} of {seen.job.nodes} pods run {holding}while {len(held)} find no machine, and none trains",
            "give the job a queue, which starts all pods or none, or cancel it until there is room",
        )


def _left_over(seen: Seen) -> Iterator[Cause]:
    """A job that has succeeded, and machines that are held all the same."""
    live = [one for one in seen.pods if one.is_live]
    if seen.job.state == "Succeeded" and live and seen.job.keeps_pods:
        gpus = sum(one.gpus for one in live)
        yield Cause(
            seen.job.title,
            f"has succeeded, and {len(live)} of its pods run on{f' and hold {gpus} GPUs' if gpus else ''}, as "
            "cleanPodPolicy is None",
            "cancel it with --delete, and write cleanPodPolicy: Running",
        )


def pulling(pod: Pod, events: Sequence[Object]) -> str:
    """The image that a pod's machine fetches now; empty if it fetches none."""
    if pod.phase != PENDING:
        return ""
    for event in reversed(events):
        about = event.get("involvedObject") or {}
        if about.get("uid") == pod.uid and event.get("reason") in (_PULLING, _PULLED):
            named = re.search(r'"([^"]+)"', str(event.get("message", "")))
            return named[1] if named and event["reason"] == _PULLING else ""
    return ""
