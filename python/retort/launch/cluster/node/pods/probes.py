"""Probes: whether a container has started, lives, and is ready
(https://kubernetes.io/docs/concepts/configuration/liveness-readiness-startup-probes/)."""

import http.client
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from retort.launch.cluster.kinds.errors import JSONObject

Connect = Callable[[int, float], socket.socket]
"""A connection to a port of the pod, within a time in seconds."""
Verdict = Literal["started", "ready", "unready", "dead", "failing"]
_PROBES = ("startupProbe", "livenessProbe", "readinessProbe")
_BEGINS_S = 0.01
"""Between two looks whether the program runs that is to be probed."""
_MOST = 256
"""Characters of what a failed probe says."""


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
        container: what the pod says of it.
        connect: reaches its ports.
        way_in: what a command begins with that runs inside of it; None while nothing runs there.
        tell: called with what is found, when it has changed; `failing` before a threshold is reached.
    """

    def __init__(
        self,
        container: JSONObject,
        connect: Connect,
        way_in: Callable[[], Sequence[str] | None],
        tell: Callable[[Told], None],
    ) -> None:
        self._container = container
        self._connect = connect
        self._way_in = way_in
        self._tell = tell
        self._stopped = threading.Event()
        threading.Thread(target=self._run, name="prober", daemon=True).start()

    def stop(self) -> None:
        """End, after the probe that is under way."""
        self._stopped.set()

    def _run(self) -> None:
        while self._way_in() is None:
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
            why = self._ask(probe)
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
            why = self._ask(probe)
            reached = probe.count(why)
            if why:
                self._tell(Told("failing", probe.name, why))
            if reached:
                return True
            if reached is False:
                self._tell(Told("dead", probe.name, why))
                return False
        return False

    def _ask(self, probe: _Probe) -> str:
        """Why a probe fails; empty if it does not."""
        spec, timeout = probe.spec, float(probe.spec["timeoutSeconds"])
        try:
            if "httpGet" in spec:
                return self._get(spec["httpGet"], timeout)
            if "tcpSocket" in spec:
                self._connect(self._port(spec["tcpSocket"]["port"]), timeout).close()
                return ""
            if "exec" in spec:
                return self._execute(spec["exec"]["command"], timeout)
        except (OSError, http.client.HTTPException, subprocess.SubprocessError) as error:
            return str(error)[:_MOST] or type(error).__name__
        return "a local cluster knows probes by httpGet, tcpSocket and exec alone"

    def _get(self, asked: JSONObject, timeout: float) -> str:
        port = self._port(asked["port"])
        connected = self._connect(port, timeout)
        with connected:
            connected.settimeout(timeout)
            stream: socket.socket = connected
            if asked.get("scheme") == "HTTPS":
                # A probe does not ask who answers.
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
                stream = context.wrap_socket(connected)
            connection = http.client.HTTPConnection("localhost", port, timeout=timeout)
            connection.sock = stream
            headers = {"Host": f"localhost:{port}", "User-Agent": "kube-probe"}
            headers |= {one["name"]: one["value"] for one in asked.get("httpHeaders") or ()}
            connection.request("GET", asked.get("path") or "/", headers=headers)
            answer = connection.getresponse()
            answer.read(_MOST)
        if 200 <= answer.status < 400:
            return ""
        return f"HTTP probe failed with statuscode: {answer.status}"

    def _port(self, port: int | str) -> int:
        if isinstance(port, int):
            return port
        for one in self._container.get("ports") or ():
            if one.get("name") == port:
                return int(one["containerPort"])
        raise OSError(f"couldn't find port: {port}")

    def _execute(self, command: Sequence[str], timeout: float) -> str:
        way_in = self._way_in()
        if way_in is None:
            raise OSError("the container does not run")
        done = subprocess.run(
            [*way_in, *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
            check=False,
        )
        said = (done.stdout + done.stderr).decode("utf-8", "replace").strip()
        return (said or f"exit code {done.returncode}")[:_MOST] if done.returncode else ""
