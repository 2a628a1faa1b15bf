"""watch and logs: a job while it runs, and what its pods have said."""

import json
import queue
import sys
from contextlib import suppress
from pathlib import Path

from retort.core.errors import RetortError, UserError
from retort.core.signals import Terminated
from retort.launch.launcher.api.changes import Change, Following, Selected
from retort.launch.launcher.api.client import Api
from retort.launch.launcher.api.resources import POD
from retort.launch.launcher.commands.target import Target
from retort.launch.launcher.seen.jobs import FINISHED, ClusterJob, job_named
from retort.launch.launcher.seen.pods import Pod
from retort.launch.launcher.watch.console import Console
from retort.launch.launcher.watch.log_file import LogFile, LogLine, read_log
from retort.launch.launcher.watch.logs import Logs
from retort.launch.launcher.watch.watching import Watched, Watching


def watch(target: Target) -> int:
    """Tell what happens to a job until it has ended; the seal line is last."""
    api = target.api()
    job = target.found(api)
    run = target.run(job.run_name)
    console = Console(as_json=target.options.json)
    watched = Watched(run, target.log(run), target.options.stall)
    try:
        sealed = Watching(api, job, watched, console).until_end()
    except (KeyboardInterrupt, Terminated):
        print(
            f"{job.title} goes on without this; watch {job.name} watches it again, cancel {job.name} ends it",
            file=sys.stderr,
        )
        raise
    except RetortError as error:
        if target.options.json:
            print(json.dumps({"event": "outcome", "state": "Failed", "error": str(error)}))
        raise
    if target.options.json:
        seal, path = sealed or (None, None)
        print(json.dumps({"event": "outcome", "state": "Succeeded", "seal": seal, "path": path}))
    elif sealed is None:
        print(f"{job.title} has succeeded; no log has its seal any more (--runs DIR tells)")
    else:
        print(f"seal {sealed[0]} {sealed[1]}")
    return 0


def logs(target: Target) -> int:
    """Print what all pods have said, each line after the name of its pod, and follow them."""
    api = target.api()
    name = target.job().config.name if target.is_file else target.options.job
    job = job_named(api, name)
    run = target.run(name if job is None else job.run_name)
    file = target.log(run)
    kept = list(read_log(file)) if file is not None else []
    if job is None and not kept:
        where = "" if file is None else f", and {file} has no lines of it"
        raise UserError(
            f"the namespace {api.namespace} has no PyTorchJob or TrainJob {name}{where}; logs are kept where "
            "watch or logs had --runs or --file"
        )
    for line in kept:
        _print(target, line)
    if job is not None:
        _follow(api, job, file, target)
    return 0


def _follow(api: Api, job: ClusterJob, file: Path | None, target: Target) -> None:
    """Print lines as they come, until the job has ended and all of them were read."""
    changes: queue.SimpleQueue[Change | LogLine] = queue.SimpleQueue()
    kept = LogFile(file)
    followed = Logs(api, kept, changes.put, follow=target.options.follow)
    selected = [
        Selected(job.resource, fields=f"metadata.name={job.name}"),
        Selected(POD, job.pod_labels),
    ]
    followings = [Following(api, one, changes.put) for one in selected]
    listed: set[str] = set()
    is_over = False
    try:
        while not is_over or len(listed) < len(selected):
            change = changes.get()
            if isinstance(change, LogLine):
                _print(target, change)
            elif change.type == "failed" and change.error is not None:
                raise change.error
            elif change.type == "listed":
                listed.add(change.resource.plural)
                is_over = is_over or not target.options.follow
            elif change.item is not None and change.resource == POD:
                followed.see(Pod(change.item))
            elif change.item is not None:
                now = ClusterJob(job.resource, change.item)
                is_over = change.type == "gone" or now.state in FINISHED
        followed.finish()
        with suppress(queue.Empty):
            while True:
                change = changes.get_nowait()
                if isinstance(change, LogLine):
                    _print(target, change)
    finally:
        for one in followings:
            one.end()
        kept.close()


def _print(target: Target, line: LogLine) -> None:
    if target.options.json:
        print(json.dumps({"time": line.time, "pod": line.pod, "line": line.text}), flush=True)
    else:
        print(f"{line.pod}  {line.text}", flush=True)
