"""Watches one job to its end."""

import queue
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from retort.core.errors import RetortError, UserError, VerificationError
from retort.launch.launcher.api.changes import Change, Following, Selected
from retort.launch.launcher.api.client import Api
from retort.launch.launcher.api.refusals import NoSuchKind, Refused
from retort.launch.launcher.api.resources import CLAIM, EVENT, LOCAL_QUEUE, POD, WORKLOAD, Object
from retort.launch.launcher.seen.cause import Cause
from retort.launch.launcher.seen.causes import causes, outcome_causes, pulling
from retort.launch.launcher.seen.jobs import FINISHED, ClusterJob
from retort.launch.launcher.seen.pod_causes import is_growing
from retort.launch.launcher.seen.pods import FAILED, PENDING, Pod
from retort.launch.launcher.seen.runs import Progress, RunDirectory
from retort.launch.launcher.watch.console import Console
from retort.launch.launcher.watch.log_file import LogFile, LogLine
from retort.launch.launcher.watch.logs import Logs
from retort.launch.launcher.watch.progress import RunSeen
from retort.launch.launcher.watch.stall import Mark, Stall
from retort.launch.launcher.watch.view import View

_TICK_S = 0.5
_QUEUE_S = 5.0
"""Between two looks at the queue of a job that waits in one."""
_SETTLED_S = 2.0
"""That something is wrong before it is told: while pods begin, much is for a moment."""
_AGAIN_S = 60.0
"""That a cause was away before it is told again."""
_EACH = 8
"""Pods that have a line each; of more, they are counted."""
_USER = 2


class JobFailed(RetortError):
    """The job has ended without a result, or can be watched no more."""


@dataclass(frozen=True)
class Watched:
    """How a job is watched.

    Attributes:
        run: its directory, where this machine reaches it.
        log: the file that all pods' logs are kept in, if any.
        stall_s: after which a group whose pods live and that does not move is made anew; None for never.
    """

    run: RunDirectory | None = None
    log: Path | None = None
    stall_s: float | None = None


class Watching:
    """One job from when it is watched until it has ended."""

    def __init__(self, api: Api, job: ClusterJob, watched: Watched, console: Console) -> None:
        self._api, self._watched, self._console = api, watched, console
        self._changes: queue.SimpleQueue[Change | LogLine] = queue.SimpleQueue()
        self._view = View(job)
        self._run = RunSeen(watched.run)
        self._kept = LogFile(watched.log)
        self._logs = Logs(api, self._kept, self._changes.put)
        self._stall = Stall(watched.stall_s)
        self._shown: dict[str, str] = {}
        self._told: dict[str, tuple[float, float]] = {}
        self._said: set[str] = set()
        self._lost: set[str] = set()
        self._asked = 0.0
        self._progress: Progress | None = None
        self._is_lost = False

    def until_end(self) -> tuple[str, str] | None:
        """Tell what happens until the job has ended.

        Returns:
            Seal and path of its result, where a pod has said them or its run is reached.
        Raises:
            UserError: it has failed by the user's mistake.
            JobFailed: it has failed otherwise, was deleted, or is suspended.
        """
        job = self._view.job
        selected = (
            Selected(job.resource, fields=f"metadata.name={job.name}"),
            Selected(POD, job.pod_labels),
            Selected(CLAIM),
            Selected(EVENT),
        )
        followings = [Following(self._api, one, self._changes.put) for one in selected]
        try:
            while not self._view.is_whole or not self._is_over():
                self._take_all()
                if self._view.is_whole:
                    self._tell()
            self._logs.finish()
            self._take_all()
            return self._outcome()
        finally:
            for one in followings:
                one.end()
            self._console.close()
            self._kept.close()

    def _take_all(self) -> None:
        """Wait for something to happen, a tick at most, and take it all in."""
        until = time.monotonic() + _TICK_S
        try:
            while True:
                one = self._changes.get(timeout=max(0.0, until - time.monotonic()))
                until = 0.0
                if isinstance(one, LogLine):
                    self._run.read(one)
                else:
                    self._take(one)
        except queue.Empty:
            return

    def _take(self, change: Change) -> None:
        if change.type == "lost":
            if not self._is_lost:
                self._console.say("lost", f"{change.error}; the job goes on, and this tries again")
            self._is_lost = True
            return
        self._is_lost = False
        pod = self._view.take(change)
        if pod is not None and change.type == "there":
            self._logs.see(pod)
            self._tell_lost(pod)

    def _tell_lost(self, pod: Pod) -> None:
        """A pod that has failed, at once: its operator may have another in its place in a moment."""
        if pod.phase != FAILED or pod.uid in self._lost:
            return
        self._lost.add(pod.uid)
        state = _state(pod, ())
        self._console.say("state", f"{pod.name}  {state}", name=pod.name, state=state)
        if pod.name in self._shown:
            self._shown[pod.name] = state

    def _is_over(self) -> bool:
        view = self._view
        if view.failure is not None:
            raise view.failure
        if self._logs.failure is not None:
            raise self._logs.failure
        if view.is_gone:
            raise JobFailed(
                f"{view.job.title} was deleted while it was watched; its run is kept: launch goes on with it"
            )
        if view.job.state in FINISHED:
            return True
        if view.job.is_suspended and not view.job.queue and not view.pods:
            raise JobFailed(f"{view.job.title} is suspended; resume goes on with it")
        return False

    def _tell(self) -> None:
        self._ask_queue()
        self._tell_pods()
        self._tell_causes(causes(self._view.seen()))
        pods = self._view.pods
        live = sum(one.is_live for one in pods)
        self._tell_progress(live)
        self._mind_stall(pods, live == self._view.job.nodes)

    def _tell_progress(self, live: int) -> None:
        progress = self._run.progress()
        if progress is None or progress == self._progress:
            return
        self._progress = progress
        facts = "" if progress.loss is None else f"loss {progress.loss:.4f}"
        facts += f"  {live}/{self._view.job.nodes} pods" if live else ""
        values = {"loss": progress.loss, "pods": live}
        self._console.progress(progress.step, progress.steps, facts, values)

    def _tell_pods(self) -> None:
        """A line for each pod that has changed, or for all of them where there are many."""
        seen = self._view.seen()
        if len(seen.pods) > _EACH:
            counts = Counter(pod.shown for pod in seen.pods)
            state = {"pods": ", ".join(f"{number} {word}" for word, number in counts.items())}
        else:
            state = {pod.name: _state(pod, seen.events) for pod in seen.pods}
        state[seen.job.title] = seen.job.state
        for name, now in state.items():
            if self._shown.get(name) != now:
                self._console.say("state", f"{name}  {now}", name=name, state=now)
        for name in sorted(self._shown.keys() - state.keys()):
            self._console.say("state", f"{name}  is gone", name=name, state="gone")
        self._shown = state

    def _tell_causes(self, found: list[Cause], settled_s: float = _SETTLED_S) -> None:
        """Each once, and again only when it was away for a while: kubelets word one thing in turns."""
        now = time.monotonic()
        for cause in found:
            since, last = self._told.get(cause.key, (now, float("-inf")))
            if now - last > _AGAIN_S:
                since = now
            if since <= now - settled_s and cause.key not in self._said:
                self._said.add(cause.key)
                self._say_cause(cause)
            self._told[cause.key] = (since, now)
        for key, (_, last) in self._told.items():
            if now - last > _AGAIN_S:
                self._said.discard(key)

    def _say_cause(self, cause: Cause) -> None:
        self._console.say("cause", str(cause), of=cause.of, what=cause.what, mend=cause.mend)

    def _ask_queue(self) -> None:
        """Kueue's objects are looked at only while the job waits for it."""
        job, now = self._view.job, time.monotonic()
        if not job.queue or not job.is_suspended or now - self._asked < _QUEUE_S:
            return
        self._asked = now
        try:
            self._view.queue_is_there = self._api.find(LOCAL_QUEUE, job.queue) is not None
            self._view.workloads = self._api.list(WORKLOAD)[0]
        except NoSuchKind:
            self._view.workloads = None
        except Refused:
            self._view.workloads = []  # may not be looked at

    def _mind_stall(self, pods: list[Pod], live: bool) -> None:
        progress = self._run.progress()
        step = 0 if progress is None else progress.step
        moving = progress is not None and 0 < step != progress.steps
        mark = Mark(step, frozenset(one.uid for one in pods), 0 if moving else self._run.lines)
        if not self._stall.is_due(mark, time.monotonic(), live):
            return
        self._console.say(
            "restart",
            f"{self._view.job.title}: its pods live, and nothing has moved for {self._watched.stall_s:.0f} s after "
            f"step {step}: all of them are deleted, and made anew by the operator",
            step=step,
        )
        for pod in pods:
            self._api.delete(POD, pod.name, pod.uid)

    def _outcome(self) -> tuple[str, str] | None:
        job, run = self._view.job, self._watched.run
        self._tell_pods()
        self._tell_progress(0)
        if job.state == "Failed":
            self._fail()
        self._tell_causes(causes(self._view.seen()), 0.0)
        sealed = None if run is None else run.finished()
        if sealed is None:
            return self._run.seal
        if self._run.seal is not None and self._run.seal[0] != sealed.seal:
            raise VerificationError(
                f"{sealed.path}: its seal is {sealed.seal}, and a pod said {self._run.seal[0]}: --runs is not what "
                "the pods have at /runs, or it was altered"
            )
        return sealed.seal, str(sealed.path)

    def _fail(self) -> NoReturn:
        found = outcome_causes(self._view.seen())
        for cause in found[1:]:
            self._say_cause(cause)
        text = f"{self._view.job.title} has failed: {found[0]}"
        codes = {ended.code for pod in self._view.pods for ended in pod.ended()}
        if _USER in codes:
            raise UserError(text)
        raise JobFailed(text)


def _state(pod: Pod, events: Sequence[Object]) -> str:
    """What a pod does, and where."""
    image = pulling(pod, events)
    what = f", fetching {image}" if image else ""
    what += ", a machine is being added" if is_growing(pod, events) else ""
    where = f" on {pod.node}" if pod.node and pod.phase != PENDING else ""
    return f"{pod.shown}{where}{what}"
