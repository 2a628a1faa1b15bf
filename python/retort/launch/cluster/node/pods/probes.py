"""Probes: whether a container has started, lives, and is ready
(https://kubernetes.io/docs/concepts/configuration/liveness-readiness-startup-probes/)."""

import threading
import time
from collections.abc import Callable
from typing import Literal, NamedTuple

from retort.launch.cluster.kinds.errors import JSONObject
from retort.launch.cluster.node.pods.actions import Actions

Verdict = Literal["started", "ready", "unready", "dead", "failing"]
_PROBES = ("startupProbe", "livenessProbe", "readinessProbe")
_BEGINS_S = 0.01
"""Between two looks whether the program runs that is to be probed."""


class Told(NamedTuple):
    """What a probe has found: the verdict, and for `unready`, `dead` and `failing` which probe and why."""

    verdict: Verdict
    probe: str = ""
    why: str = ""


class _Probe:
    """A probe, its time, and how often in a row it has gone one way."""

    def __init__(self, name: str, spec: JSONObject) -> None:
        self.name = name
        self.spec = spec
        self.next = time.monotonic() + float(spec.get("initialDelaySeconds") or 0)
        self.successes = 0
        self.failures = 0

    def count(self, why: str) -> bool | None:
        """Take a result in: True or False when its threshold is reached, None before."""
        self.next = time.monotonic() + float(self.spec["periodSeconds"])
        if why:
            self.successes, self.failures = 0, self.failures + 1
            return False if self.failures >= self.spec["failureThreshold"] else None
        self.successes, self.failures = self.successes + 1, 0
        return True if self.successes >= self.spec["successThreshold"] else None


def has_probes(container: JSONObject) -> bool:
    """Whether anything of a container is probed."""
    return any(container.get(name) for name in _PROBES)


class Prober:
    """Probes a run of a container until it is stopped.

    Args:
        actions: what can be asked of it.
        tell: called with what is found, when it has changed; `failing` before a threshold is reached.
    """

    def __init__(self, actions: Actions, tell: Callable[[Told], None]) -> None:
        self._actions = actions
        self._container = actions.container
        self._tell = tell
        self._stopped = threading.Event()
        threading.Thread(target=self._run, name="prober", daemon=True).start()

    def stop(self) -> None:
        """End, after the probe that is under way."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._actions.are_possible:
            if self._stopped.wait(_BEGINS_S):
                return
        startup = self._container.get("startupProbe")
        if startup and not self._has_started(_Probe("Startup", startup)):
            return
        self._tell(Told("started"))
        readiness = self._container.get("readinessProbe")
        if not readiness:
            self._tell(Told("ready"))
        probes = [
            _Probe(name, spec)
            for name, spec in (
                ("Liveness", self._container.get("livenessProbe")),
                ("Readiness", readiness),
            )
            if spec
        ]
        is_ready = not readiness
        while probes:
            probe = min(probes, key=lambda one: one.next)
            if self._stopped.wait(max(0.0, probe.next - time.monotonic())):
                return
            why = self._actions.failure(probe.spec, float(probe.spec["timeoutSeconds"]))
            reached = probe.count(why)
            if why:
                self._tell(Told("failing", probe.name, why))
            if probe.name == "Liveness" and reached is False:
                self._tell(Told("dead", probe.name, why))
                return
            if probe.name == "Readiness" and reached is not None and reached != is_ready:
                is_ready = reached
                self._tell(Told("ready" if is_ready else "unready", probe.name, why))

    def _has_started(self, probe: _Probe) -> bool:
        while not self._stopped.wait(max(0.0, probe.next - time.monotonic())):
            why = self._actions.failure(probe.spec, float(probe.spec["timeoutSeconds"]))
            reached = probe.count(why)
            if why:
                self._tell(Told("failing", probe.name, why))
            if reached:
                return True
            if reached is False:
                self._tell(Told("dead", probe.name, why))
                return False
        return False
