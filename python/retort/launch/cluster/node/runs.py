"""The containers of a pod: which is started when, and what follows from its end."""

import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from retort.launch.cluster.kinds.errors import JSONObject
from retort.launch.cluster.node.containers.container import Container, Plan
from retort.launch.cluster.node.containers.output import Output
from retort.launch.cluster.node.machine import Machine
from retort.launch.cluster.node.network.network import Attached
from retort.launch.cluster.node.pods.actions import Actions
from retort.launch.cluster.node.pods.probes import Prober, Told, has_probes
from retort.launch.cluster.node.pods.status import Standing, standings, starts_again, waiting
from retort.launch.cluster.node.starting import NotStarted, Starter
from retort.launch.cluster.objects.metadata import now

BACKOFF_S, MOST_BACKOFF_S = 10.0, 300.0
"""Between the starts of a container that ends again and again, and attempts at an image; doubled each time."""
_CALM_S = 600.0
"""A container that has run so long is started again without a pause."""
Tell = Callable[[Literal["Normal", "Warning"], str, str], None]
"""Writes an event of the pod: its type, reason and message."""


@dataclass
class _Run:
    """A container with its present run, and when it may be started again."""

    standing: Standing
    container: Container | None = None
    plan: Plan | None = None
    output: Output | None = None
    actions: Actions | None = None
    prober: Prober | None = None
    began: float = 0.0
    pause_s: float = 0.0
    start_at: float = 0.0
    kill_at: float | None = None
    refusal: str = ""


class Runs:
    """All containers of a pod. Its worker's thread alone uses it, but for what `later` is given.

    Args:
        later: has something done in the worker's thread.
        tell: writes an event.
    """

    def __init__(
        self,
        pod: JSONObject,
        machine: Machine,
        starter: Starter,
        later: Callable[[Callable[[], None]], None],
        tell: Tell,
    ) -> None:
        self._machine = machine
        self._starter = starter
        self._later = later
        self._tell = tell
        self._policy = pod["spec"].get("restartPolicy", "Always")
        self._grace_s = float(pod["spec"].get("terminationGracePeriodSeconds", 30))
        self._runs = [_Run(one) for one in standings(pod)]

    @property
    def standings(self) -> Sequence[Standing]:
        """How they stand, those that run first in front."""
        return [run.standing for run in self._runs]

    @property
    def running(self) -> list[Container]:
        """Those that have not ended."""
        return [run.container for run in self._runs if run.container is not None]

    def signal(self, number: int) -> None:
        """Send a signal to all that run."""
        for container in self.running:
            container.signal(number)

    def stop(self) -> None:
        """Probe nothing any more."""
        for run in self._runs:
            if run.prober is not None:
                run.prober.stop()

    def end(self, grace_s: float) -> None:
        """Ask all that run to end, each after what it wants done before.

        Args:
            grace_s: how long that may take, with all that follows.
        """
        self.stop()
        for run in self._runs:
            if run.container is None:
                continue
            self._tell("Normal", "Killing", f"Stopping container {run.standing.name}")
            hook = (run.standing.spec.get("lifecycle") or {}).get("preStop")
            if hook and run.actions is not None and grace_s:
                # In a thread, as the pod may be struck by something else meanwhile.
                given = (run.container, run.actions, hook, grace_s)
                threading.Thread(target=self._end_after, args=given, daemon=True).start()
            else:
                run.container.signal(signal.SIGTERM)

    def _end_after(
        self, container: Container, actions: Actions, hook: JSONObject, grace_s: float
    ) -> None:
        why = actions.failure(hook, grace_s)
        if why:
            self._later(lambda: self._tell("Warning", "FailedPreStopHook", why))
        container.signal(signal.SIGTERM)

    def advance(self, pod: JSONObject, network: Attached) -> list[float]:
        """Start what may be started.

        Returns:
            When there may be more to do.
        """
        times = []
        for run in self._runs:
            standing = run.standing
            if standing.is_first is False and not self._first_have_ended():
                break
            if standing.ended is not None and starts_again(self._policy, standing):
                self._put_off(run)
            if run.container is None and standing.ended is None:
                if run.start_at <= time.monotonic():
                    self._start(pod, run, network)
                if run.container is None:
                    times.append(run.start_at)
            if run.kill_at is not None:
                times.append(run.kill_at)
                if run.kill_at <= time.monotonic() and run.container is not None:
                    run.container.signal(signal.SIGKILL)
                    run.kill_at = None
            if standing.is_first and not standing.lets_others_start:
                break
        return times

    def try_again(self) -> None:
        """What a container waits for may be there now."""
        for run in self._runs:
            if run.refusal:
                run.start_at = 0.0

    def _first_have_ended(self) -> bool:
        return all(one.lets_others_start for one in self.standings if one.is_first)

    def _start(self, pod: JSONObject, run: _Run, network: Attached) -> None:
        standing = run.standing
        restarts = standing.restarts + (standing.last is not None)
        try:
            run.plan, run.output = self._starter.plan(pod, standing, network, restarts)
        except NotStarted as error:
            self._refuse(run, error)
            return
        if not run.refusal:
            image = standing.spec.get("image", "")
            self._tell("Normal", "Pulled", f'Container image "{image}" already present on machine')
        run.refusal, run.kill_at = "", None
        run.container = Container(run.plan, run.output, lambda: self._later(lambda: None))
        self._tell("Normal", "Started", f"Started container {standing.name}")
        run.began = time.monotonic()
        standing.restarts = restarts
        standing.state = {"running": {"startedAt": now()}}
        container = run.container
        run.actions = Actions(
            standing.spec,
            lambda port, timeout_s: self._machine.network.connect(network.address, port, timeout_s),
            lambda: _way_into(container, network),
        )
        if not has_probes(standing.spec):
            standing.is_started = standing.is_ready = True
            return

        def told(found: Told) -> None:
            self._later(lambda: self._take(run, container, found))

        run.prober = Prober(run.actions, told)

    def _refuse(self, run: _Run, error: NotStarted) -> None:
        reason, message = error.reason, str(error)
        if reason == "ErrImagePull" and run.refusal:
            reason = "ImagePullBackOff"
            message = f'Back-off pulling image "{run.standing.spec["image"]}": {message}'
        if run.refusal != reason:
            self._tell("Warning", "Failed", message)
            if reason != "CreateContainerConfigError":
                self._tell("Warning", "Failed", f"Error: {reason}")
        run.refusal = reason
        run.standing.state = waiting(reason, message)
        run.pause_s = min(MOST_BACKOFF_S, run.pause_s * 2 or BACKOFF_S)
        run.start_at = time.monotonic() + run.pause_s

    def _put_off(self, run: _Run) -> None:
        """Have a container that has ended wait to be started again: the first time not at all."""
        standing = run.standing
        standing.last = standing.ended
        if time.monotonic() - run.began >= _CALM_S:
            run.pause_s = 0.0
        if run.pause_s:
            words = f"back-off {run.pause_s:.0f}s restarting failed container={standing.name}"
            standing.state = waiting("CrashLoopBackOff", words)
            self._tell(
                "Warning", "BackOff", f"Back-off restarting failed container {standing.name}"
            )
        else:
            standing.state = waiting("ContainerCreating")
        run.start_at = time.monotonic() + run.pause_s
        run.pause_s = min(MOST_BACKOFF_S, run.pause_s * 2 or BACKOFF_S)

    def collect(self) -> None:
        """Take in what has ended."""
        for run in self._runs:
            if run.container is None or run.container.ended is None:
                continue
            run.container.join()
            assert run.output is not None and run.plan is not None
            ended, standing = run.container.ended, run.standing
            if run.prober is not None:
                run.prober.stop()
            if run.plan.cgroup is not None:
                run.plan.cgroup.remove()
            message = ended.why or self._starter.last_word(standing, run.output, ended.code)
            standing.state = {
                "terminated": {
                    "exitCode": ended.code,
                    "reason": ended.reason,
                    **({"message": message} if message else {}),
                    **standing.state.get("running", {}),
                    "finishedAt": now(),
                }
            }
            if ended.why:
                self._tell("Warning", "Failed", f"Error: {ended.why}")
            standing.is_started = standing.is_ready = False
            run.container = run.prober = None

    def _take(self, run: _Run, container: Container, found: Told) -> None:
        """Take in what a probe has found of a run."""
        if run.container is not container:
            return
        standing = run.standing
        match found.verdict:
            case "started":
                standing.is_started = True
            case "ready" | "unready":
                standing.is_ready = found.verdict == "ready"
            case "failing":
                self._tell("Warning", "Unhealthy", f"{found.probe} probe failed: {found.why}")
            case "dead":
                words = f"failed {found.probe.lower()} probe"
                if starts_again(self._policy, _failed(standing)):
                    words += ", will be restarted"
                self._tell("Normal", "Killing", f"Container {standing.name} {words}")
                container.signal(signal.SIGTERM)
                run.kill_at = time.monotonic() + self._grace_s


def _failed(standing: Standing) -> Standing:
    state = {"terminated": {"exitCode": 137}}
    return Standing(standing.spec, standing.is_first, state)


def _way_into(container: Container, network: Attached) -> Sequence[str] | None:
    """What a command begins with that runs inside a container, as soon as that runs.

    A plain process has no inside.
    """
    if not container.pid:
        return None
    if not network.way_in:
        return ()
    spaces = ("--user", "--mount", "--pid", "--ipc", "--uts", "--net")
    return ("nsenter", f"--target={container.pid}", *spaces, "--preserve-credentials")
