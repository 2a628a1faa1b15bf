"""How long a job may go on, and how long it is kept when it has ended."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from retort.launch.cluster.controllers.frame.items import (
    DEADLINE,
    annotations_of,
    is_active,
    moment,
    phase_of,
    status_of,
)
from retort.launch.cluster.controllers.pytorchjob.job import PyTorchJob, is_of
from retort.launch.cluster.kinds.errors import JSONObject


def limit_reached(
    job: PyTorchJob, status: Mapping[str, Any], pods: Sequence[JSONObject], now: datetime
) -> str:
    """Why a job may not go on; empty if it may."""
    said = f"Job {job.name} has failed because it"
    if _is_past_backoff(job, status, pods):
        return f"{said} has reached the specified backoff limit"
    end = deadline(job, status)
    is_passed = annotations_of(job.item).get(DEADLINE) == "passed"
    if end is not None and (now >= end or is_passed):
        return f"{said} was active longer than specified deadline"
    return ""


def _is_past_backoff(
    job: PyTorchJob, status: Mapping[str, Any], pods: Sequence[JSONObject]
) -> bool:
    limit = job.policy.get("backoffLimit")
    if limit is None:
        return False
    failed = sum(phase_of(pod) == "Failed" for pod in pods)
    known = sum(one.get("failed", 0) for one in (status.get("replicaStatuses") or {}).values())
    if limit == 0 and failed > known and sum(map(is_active, pods)) != job.total:
        return True
    # Pods that were made anew begin at none, and those that have ended count no more.
    restarts = sum(
        container.get("restartCount", 0)
        for replica in job.replicas
        if replica.restarts != "Never"
        for pod in pods
        if is_of(replica, pod) and phase_of(pod) == "Running"
        for lists in ("initContainerStatuses", "containerStatuses")
        for container in status_of(pod).get(lists) or ()
    )
    return bool(restarts > 0 if limit == 0 else restarts >= limit)


def deadline(job: PyTorchJob, status: Mapping[str, Any]) -> datetime | None:
    """Until when a job may run. A job that is resumed begins anew."""
    seconds, start = job.policy.get("activeDeadlineSeconds"), status.get("startTime")
    if seconds is None or start is None:
        return None
    return moment(start) + timedelta(seconds=seconds)


def expiry(job: PyTorchJob, status: Mapping[str, Any]) -> datetime | None:
    """When a job that has ended is deleted. The operator knows it by the completionTime alone."""
    seconds, end = job.policy.get("ttlSecondsAfterFinished"), status.get("completionTime")
    if seconds is None or end is None or job.policy.get("suspend"):
        return None
    return moment(end) + timedelta(seconds=seconds)
