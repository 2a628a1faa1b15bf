"""list: the jobs of a namespace, as kubectl would show them."""

import json
import sys
from collections.abc import Sequence

from retort.launch.launcher.api.client import Api
from retort.launch.launcher.api.refusals import NoSuchKind
from retort.launch.launcher.api.resources import JOBS, POD
from retort.launch.launcher.commands.target import Target
from retort.launch.launcher.seen.jobs import ClusterJob
from retort.launch.launcher.seen.pods import Pod
from retort.launch.launcher.seen.runs import run_directory

_UNITS = ((86400, "d"), (3600, "h"), (60, "m"))
_JOB_LABELS = ("training.kubeflow.org/job-name", "jobset.sigs.k8s.io/jobset-name")


def list_jobs(target: Target) -> int:
    """Print a line for each job."""
    api = target.api()
    everywhere = target.options.all_namespaces
    jobs = _jobs(api, everywhere)
    live = _live(api, everywhere)
    rows = [_row(target, job, live.get((job.namespace, job.name), 0)) for job in jobs]
    if target.options.json:
        print(json.dumps(rows))
    elif rows:
        left_out = () if everywhere else ("namespace",)
        print(
            "\n".join(table([{k: v for k, v in row.items() if k not in left_out} for row in rows]))
        )
    else:
        where = "" if everywhere else f" in {api.namespace} namespace"
        print(f"No resources found{where}.", file=sys.stderr)
    return 0


def table(rows: Sequence[dict[str, object]]) -> list[str]:
    """Columns under their names, three spaces apart."""
    names = [name.upper() for name in rows[0]]
    cells = [names, *([str(value) for value in row.values()] for row in rows)]
    widths = [max(len(row[number]) for row in cells) for number in range(len(names))]
    return [
        "   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]


def age(seconds: float) -> str:
    """As kubectl has it: 45s, 12m, 5h, 3d."""
    for size, unit in _UNITS:
        if seconds >= 2 * size:
            return f"{int(seconds // size)}{unit}"
    return f"{max(0, int(seconds))}s"


def _jobs(api: Api, everywhere: bool) -> list[ClusterJob]:
    found, missing = [], []
    for resource in JOBS:
        try:
            items, _ = api.list(resource, everywhere=everywhere)
        except NoSuchKind as error:
            missing.append(error)
            continue
        found += [ClusterJob(resource, item) for item in items]
    if len(missing) == len(JOBS):
        raise missing[0]
    return sorted(found, key=lambda job: (job.namespace, job.name))


def _live(api: Api, everywhere: bool) -> dict[tuple[str, str], int]:
    """Pods that run, of each job."""
    counts: dict[tuple[str, str], int] = {}
    for label in _JOB_LABELS:
        for item in api.list(POD, label, everywhere=everywhere)[0]:
            key = (item["metadata"].get("namespace", ""), item["metadata"]["labels"][label])
            counts[key] = counts.get(key, 0) + Pod(item).is_live
    return counts


def _row(target: Target, job: ClusterJob, live: int) -> dict[str, object]:
    row: dict[str, object] = {
        "namespace": job.namespace,
        "name": job.name,
        "kind": job.resource.kind,
        "state": job.state,
        "pods": f"{live}/{job.nodes}",
        "queue": job.queue or "<none>",
        "age": age(job.age_s()),
    }
    if target.options.runs is not None:
        runs = target.invocation.resolve(target.options.runs)
        progress = run_directory(runs, job.run_name).progress()
        steps = "" if progress is None or progress.steps is None else f"/{progress.steps}"
        row["step"] = "<none>" if progress is None else f"{progress.step}{steps}"
    return row
