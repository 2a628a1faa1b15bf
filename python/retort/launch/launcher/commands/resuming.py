"""resume: a job goes on from the newest checkpoint that verifies, with any number of nodes."""

import copy
import sys
from typing import Any

from retort.core.errors import UserError, one_line
from retort.launch.launcher.api.client import Api
from retort.launch.launcher.api.resources import RUNTIME, Object
from retort.launch.launcher.commands.ending import replace_away, suspend, wait_without_pods
from retort.launch.launcher.commands.launching import agreed, apply_all, said
from retort.launch.launcher.commands.target import Target
from retort.launch.launcher.plan.plan import Plan, findings, make_plan, refuse_finished
from retort.launch.launcher.plan.words import plan_lines
from retort.launch.launcher.seen.jobs import ClusterJob
from retort.launch.launcher.seen.runs import RunDirectory
from retort.launch.launcher.watch.console import Console
from retort.launch.rules.documents import Document

_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def resume(target: Target) -> int:
    """Go on with a run."""
    api = target.api()
    if target.is_file:
        return _with_file(api, target)
    job = target.found(api)
    run = target.run(job.run_name)
    _refuse(job, run)
    nodes = target.options.nodes
    is_other = nodes is not None and nodes != job.nodes
    _refuse_running(job, is_other)
    _tell_start(run)
    if not agreed(target, f"Resume {job.title}?"):
        return 1
    if job.state == "Failed" or is_other:
        item = anew(job, nodes if nodes is not None else job.nodes)
        _hold_to_rules(job, item)
        _leave(api, target, job)
        if not job.is_v1 and is_other:
            runtime = job.spec["runtimeRef"]
            if runtime.get("kind") == RUNTIME.kind:
                api.merge(RUNTIME, runtime["name"], {"spec": {"mlPolicy": {"numNodes": nodes}}})
        api.apply(job.resource, item, force=True)
    else:
        suspend(api, job, False)
    said(target, "resumed", job.title, api)
    return 0


def anew(job: ClusterJob, nodes: int) -> Object:
    """The same job, as somebody would apply it, with a number of nodes."""
    metadata = job.item["metadata"]
    annotations = dict(metadata.get("annotations") or {})
    annotations.pop(_LAST_APPLIED, None)
    spec: Any = copy.deepcopy(dict(job.spec))
    item: Object = {
        "apiVersion": job.resource.api_version,
        "kind": job.resource.kind,
        "metadata": {
            "name": job.name,
            **({"labels": metadata["labels"]} if metadata.get("labels") else {}),
            **({"annotations": annotations} if annotations else {}),
        },
        "spec": spec,
    }
    policy = spec.setdefault("runPolicy", {}) if job.is_v1 else spec
    policy["suspend"] = bool(job.queue)
    if not job.is_v1:
        spec.setdefault("trainer", {})["numNodes"] = nodes
        return item
    replicas = spec["pytorchReplicaSpecs"]
    replicas["Worker"]["replicas"] = nodes - (1 if "Master" in replicas else 0)
    if "elasticPolicy" in spec:
        spec["elasticPolicy"] |= {"minReplicas": nodes, "maxReplicas": nodes}
    return item


def _with_file(api: Api, target: Target) -> int:
    if target.options.nodes is not None:
        raise UserError("--nodes is of a job that is named; with its file, give --set nodes=N")
    job = target.job()
    made = make_plan(api, job, target.options.operator, target.around(job.config.name))
    present, same = made.present, made.of_job.action == "unchanged"
    if present is not None:
        _refuse_running(present, not same)
    if not target.options.json:
        print("\n".join(plan_lines(made)), file=sys.stderr, flush=True)
    if not agreed(target, "Resume it?"):
        return 1
    if present is None:
        apply_all(api, made)
    elif same and present.state != "Failed":
        suspend(api, present, False)
    else:
        _leave(api, target, present)
        _apply_again(api, made)
    said(target, "resumed", made.wanted.title, api)
    return 0


def _apply_again(api: Api, made: Plan) -> None:
    apply_all(api, made)
    if made.of_job.action == "unchanged":  # it was there when that was asked, and is not any more
        api.apply(made.wanted.resource, made.wanted.item, force=True)


def _leave(api: Api, target: Target, job: ClusterJob) -> None:
    """Have a job save and go, so that another can take its place: what is immutable differs, a job that has
    failed never starts again, and a deadline begins anew."""
    console = Console(as_json=target.options.json)
    if job.state != "Failed":
        suspend(api, job)
        wait_without_pods(api, job, console)
    replace_away(api, job)
    wait_without_pods(api, job, console)


def _refuse(job: ClusterJob, run: RunDirectory | None) -> None:
    refuse_finished(run, job.run_name)
    if job.state == "Succeeded":
        raise UserError(f"{job.title} has succeeded, and a finished run is never started twice")


def _refuse_running(job: ClusterJob, is_other: bool) -> None:
    if not job.is_suspended and job.state != "Failed" and not is_other:
        raise UserError(f"{job.title} is not suspended, and has not failed ({job.state}); watch it")


def _tell_start(run: RunDirectory | None) -> None:
    if run is None:
        return
    newest = run.newest()
    for one in newest.skipped:
        print(one_line(f"skipped: {one}"), file=sys.stderr)
    after = "from the beginning" if newest.found is None else f"after step {newest.found.step}"
    print(f"goes on {after}", file=sys.stderr, flush=True)


def _hold_to_rules(job: ClusterJob, item: Object) -> None:
    """What was applied by others may break rules; what breaks one only now is refused."""

    def broken(one: Object) -> set[tuple[str, str]]:
        document = Document("the job", {k: v for k, v in one.items() if k != "status"})
        return {(found.at, found.what) for found in findings([document], [])}

    new = broken(item) - broken(anew(job, job.nodes))
    if new:
        at, what = sorted(new)[0]
        raise UserError(f"{at}: {what}")
