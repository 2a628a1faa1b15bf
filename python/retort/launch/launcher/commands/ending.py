"""cancel: a job saves and leaves, and its run is kept."""

import json

from retort.core.errors import UserError
from retort.launch.launcher.api.client import MANAGER, Api
from retort.launch.launcher.api.refusals import NoSuchKind
from retort.launch.launcher.api.resources import (
    CONFIG_MAP,
    NETWORK_POLICY,
    POD,
    POD_MONITOR,
    RUNTIME,
    WORKLOAD,
    Object,
    Resource,
)
from retort.launch.launcher.commands.target import Target
from retort.launch.launcher.seen.jobs import FINISHED, ClusterJob
from retort.launch.launcher.watch.console import Console

_LOOK_S = 30
"""A watch for something to be gone is begun anew after this, if nothing is told."""


def cancel(target: Target) -> int:
    """Suspend a job, so that its pods save and leave; remove it if that is asked."""
    api = target.api()
    job = target.found(api)
    console = Console(as_json=target.options.json)
    if job.state in FINISHED and not target.options.delete:
        raise UserError(
            f"{job.title} has ended already ({job.state}); --delete removes it, and keeps its run"
        )
    if job.state not in FINISHED:
        suspend(api, job)
        wait_without_pods(api, job, console)
    if target.options.delete:
        remove(api, job)
    run = target.run(job.run_name)
    found = None if run is None else run.newest().found
    kept = "" if found is None else f" after step {found.step}"
    action = "deleted" if target.options.delete else "suspended"
    if target.options.json:
        step = None if found is None else found.step
        said = {"action": action, "job": job.title, "namespace": api.namespace, "step": step}
        print(json.dumps(said))
    else:
        onward = "launch" if target.options.delete else "resume"
        print(f"{action} {job.title} in {api.namespace}; its run is kept{kept}: {onward} goes on")
    return 0


def suspend(api: Api, job: ClusterJob, value: bool = True) -> None:
    """Have a job have no pods, or have them again. What is in a queue Kueue does by itself when its
    Workload is deactivated; against it, nobody else can."""
    workloads = [one for one in _workloads(api) if job.owns(one)] if job.queue else []
    for one in workloads:
        api.merge(WORKLOAD, one["metadata"]["name"], {"spec": {"active": not value}})
    if value or not job.queue:
        api.merge(job.resource, job.name, job.suspend_patch(value))


def wait_without_pods(api: Api, job: ClusterJob, console: Console) -> None:
    """Return when the job has no pods any more: each has its grace period to save."""
    told = False
    while True:
        pods, since = api.list(POD, job.pod_labels)
        if not pods:
            return
        if not told:
            grace = max(one["spec"].get("terminationGracePeriodSeconds", 30) for one in pods)
            text = f"{len(pods)} pods save and leave, in {grace} s at most"
            console.say("leaving", text, pods=len(pods), seconds=grace)
            told = True
        _wait_for_removal(api, POD, since, labels=job.pod_labels)


def remove(api: Api, job: ClusterJob) -> None:
    """Remove a job, and what was applied for it alone; never a claim. Returns when it is gone."""
    replace_away(api, job)
    for resource in (NETWORK_POLICY, POD_MONITOR, CONFIG_MAP, RUNTIME):
        for item in _applied(api, resource, job.name):
            api.delete(resource, item["metadata"]["name"], item["metadata"]["uid"])


def replace_away(api: Api, job: ClusterJob) -> None:
    """Remove a job alone. Returns when it is gone, so that another can have its name."""
    api.delete(job.resource, job.name, job.uid)
    fields = f"metadata.name={job.name}"
    while True:
        items, since = api.list(job.resource, fields=fields)
        if all(one["metadata"]["uid"] != job.uid for one in items):
            return
        _wait_for_removal(api, job.resource, since, fields=fields)


def _wait_for_removal(
    api: Api, resource: Resource, since: str, labels: str = "", fields: str = ""
) -> None:
    for kind, _ in api.watch(resource, since, labels, fields, seconds=_LOOK_S):
        if kind == "DELETED":
            return


def _applied(api: Api, resource: Resource, name: str) -> list[Object]:
    """Objects that the launcher has applied for a job of a name."""
    labels = f"app.kubernetes.io/instance={name},app.kubernetes.io/part-of=retort"
    try:
        items, _ = api.list(resource, labels)
    except NoSuchKind:
        return []
    return [
        item
        for item in items
        if any(
            one.get("manager") == MANAGER and one.get("operation") == "Apply"
            for one in item["metadata"].get("managedFields") or ()
        )
    ]


def _workloads(api: Api) -> list[Object]:
    try:
        return api.list(WORKLOAD)[0]
    except NoSuchKind:
        return []
