"""A pod's life on the node, from when it is given to it until it is gone."""

import logging
import queue
import shutil
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from retort.core.errors import RetortError, StorageError
from retort.launch.cluster.controllers.frame.events import Happening
from retort.launch.cluster.kinds.errors import ApiError, JSONObject
from retort.launch.cluster.kinds.table import POD
from retort.launch.cluster.node.machine import Machine
from retort.launch.cluster.node.network.names import hosts_text, write_hosts
from retort.launch.cluster.node.network.network import Attached
from retort.launch.cluster.node.pods.status import Given, phase, pod_status
from retort.launch.cluster.node.runs import Runs
from retort.launch.cluster.node.starting import Starter
from retort.launch.cluster.objects.deletion import Deletion, delete
from retort.launch.cluster.objects.metadata import now
from retort.launch.cluster.objects.writing import Writing

_log = logging.getLogger("retort.launch")
_STATUS = Writing(manager="kubelet", subresource="status")
_PLAINLY = Writing(manager="kubelet")
_AGAIN_S = 1.0
_PREEMPTED_S = 30
"""What a machine that is taken away has left."""
KILL, EVICT, PREEMPT = "retort/kill", "retort/evict", "retort/preempt"
"""Annotations of a pod that has an accident as soon as one says `now`; it is taken away then."""
LINK, START = "retort/link", "retort/start"
"""Annotations of a pod whose link is `down`, whose start is `held`, for as long as they say so."""
FINISHED = ("Succeeded", "Failed")


@dataclass
class _End:
    """Why and until when a pod is being ended; the reason is empty for one that is being deleted."""

    reason: str
    message: str
    until: float
    is_killed: bool = False


class PodWorker:
    """Runs a pod. What is done is done in its thread, after a word from others or at a time.

    Args:
        over: called when the pod has come to its end, by its own or when it was removed.
    """

    def __init__(
        self, pod: JSONObject, machine: Machine, over: Callable[["PodWorker"], None]
    ) -> None:
        self.pod = pod
        self._name = f"pod {pod['metadata']['namespace']}/{pod['metadata']['name']}"
        self._machine = machine
        self._over = over
        self._told: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._starter = Starter(pod, machine)
        self._runs = Runs(pod, machine, self._starter, self._told.put, self._tell)
        self._network: Attached | None = None
        self._began = (pod.get("status") or {}).get("startTime") or now()
        self._end: _End | None = None
        self._is_gone = False
        self._is_over = False
        self._is_cut = False
        self._hosts = ""
        self._lacking = ""
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    def change(self, pod: JSONObject) -> None:
        """The pod has changed."""
        self._told.put(lambda: setattr(self, "pod", pod))

    def remove(self) -> None:
        """The pod is there no more: end what runs without waiting for it."""
        self._told.put(lambda: setattr(self, "_is_gone", True))

    def look(self) -> None:
        """What it names may be there now, or other pods have other names."""
        self._told.put(self._runs.try_again)

    def join(self) -> None:
        """Wait until it is over."""
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._is_over:
                try:
                    times = self._step()
                except (RetortError, ApiError) as error:
                    _log.warning("%s: %s; trying again", self._name, error)
                    times = [time.monotonic() + _AGAIN_S]
                if not self._is_over:
                    self._wait(times)
        finally:
            self._leave()
            self._over(self)

    def _wait(self, times: list[float]) -> None:
        """Wait for a word or the first of some times, and take in all that was told."""
        timeout = max(0.0, min(times) - time.monotonic()) if times else None
        with suppress(queue.Empty):
            self._told.get(timeout=timeout)()
            while True:
                self._told.get_nowait()()

    def _step(self) -> list[float]:
        """Do what there is to do now.

        Returns:
            When there may be more to do, if nobody tells before.
        """
        self._runs.collect()
        if self._is_gone:
            self._runs.signal(signal.SIGKILL)
            self._is_over = not self._runs.running
            return []
        self._obey()
        times: list[float] = []
        if self._end is not None:
            times = self._go_on_ending(self._end)
        elif self._phase() not in FINISHED:
            times = self._advance()
        elif self._runs.running:
            # Sidecars, which are of no use any more.
            self._begin_end(
                "", "", float(self.pod["spec"].get("terminationGracePeriodSeconds", 30))
            )
            times = self._go_on_ending(self._end) if self._end is not None else []
        is_over = not self._runs.running and (self._end is not None or self._phase() in FINISHED)
        self._write_status()
        if is_over and "deletionTimestamp" in self.pod["metadata"]:
            self._remove()
        self._is_over = is_over
        return times

    def _phase(self) -> str:
        return phase(self.pod["spec"].get("restartPolicy", "Always"), self._runs.standings)

    def _obey(self) -> None:
        """Take in what is asked of the pod: to be gone, or to have an accident."""
        metadata, spec = self.pod["metadata"], self.pod["spec"]
        notes = metadata.get("annotations") or {}
        grace = float(spec.get("terminationGracePeriodSeconds", 30))
        if notes.get(KILL) == "now":
            self._consume(KILL)
            self._runs.signal(signal.SIGKILL)
        if notes.get(EVICT) == "now":
            self._consume(EVICT)
            words = "The node was low on resource: memory."
            self._tell("Warning", "Evicted", words)
            self._begin_end("Evicted", words, 0.0)
        if notes.get(PREEMPT) == "now":
            self._consume(PREEMPT)
            words = "Pod was terminated in response to imminent node shutdown."
            self._begin_end("Terminated", words, min(_PREEMPTED_S, grace))
        if "deletionTimestamp" in metadata:
            self._begin_end("", "", float(metadata.get("deletionGracePeriodSeconds") or 0))
        limit = spec.get("activeDeadlineSeconds")
        if limit is not None and self._end is None and self._age_s() >= limit:
            words = "Pod was active on the node longer than the specified deadline"
            self._begin_end("DeadlineExceeded", words, grace)
        is_cut = notes.get(LINK) == "down"
        if self._network is not None and is_cut != self._is_cut:
            self._is_cut = is_cut
            self._machine.network.set_link(self._network, up=not is_cut)
            self._tell("Warning", "Link", f"The pod's link is {'down' if is_cut else 'up'}")

    def _consume(self, annotation: str) -> None:
        """Take an annotation away, so that it can be given again."""

        def without(pod: JSONObject) -> JSONObject:
            (pod["metadata"].get("annotations") or {}).pop(annotation, None)
            return pod

        metadata = self.pod["metadata"]
        self.pod = self._machine.registry.modify(
            POD, metadata["namespace"], metadata["name"], without, _PLAINLY
        )

    def _begin_end(self, reason: str, message: str, grace_s: float) -> None:
        until = time.monotonic() + grace_s
        if self._end is not None:
            self._end.until = min(self._end.until, until)
            return
        self._end = _End(reason, message, until)
        self._runs.end(grace_s)

    def _go_on_ending(self, end: _End) -> list[float]:
        if time.monotonic() < end.until:
            return [end.until]
        if not end.is_killed:
            end.is_killed = True
            self._runs.signal(signal.SIGKILL)
        return []

    def _advance(self) -> list[float]:
        if (self.pod["metadata"].get("annotations") or {}).get(START) == "held":
            return []
        if self._network is None:
            self._network = self._machine.network.attach()
            # Others may know where it is before it runs.
            self._write_status()
        try:
            self._starter.prepare(self.pod, self._network)
        except RetortError as error:
            if str(error) != self._lacking:
                self._tell("Warning", "FailedMount", str(error))
            self._lacking = str(error)
            return [time.monotonic() + _AGAIN_S] if isinstance(error, StorageError) else []
        text = hosts_text(self.pod, self._network.address, self._machine.names())
        if text != self._hosts:
            write_hosts(self._starter.hosts, text)
            self._hosts = text
        times = self._runs.advance(self.pod, self._network)
        limit = self.pod["spec"].get("activeDeadlineSeconds")
        if limit is not None:
            times.append(time.monotonic() + max(0.0, float(limit) - self._age_s()))
        return times

    def _age_s(self) -> float:
        began = datetime.fromisoformat(self._began)
        return (datetime.now(UTC) - began).total_seconds()

    def _write_status(self) -> None:
        end = self._end
        given = Given(
            "" if self._network is None else self._network.address,
            self._machine.address,
            self._began,
            (end.reason, end.message) if end is not None and end.reason else None,
            end is not None and end.reason == "Evicted" and not self._runs.running,
        )

        def changed(pod: JSONObject) -> JSONObject:
            if pod["metadata"]["uid"] == self.pod["metadata"]["uid"]:
                pod["status"] = pod_status(pod, self._runs.standings, given, now())
            return pod

        metadata = self.pod["metadata"]
        try:
            self.pod = self._machine.registry.modify(
                POD, metadata["namespace"], metadata["name"], changed, _STATUS
            )
        except ApiError as error:
            if error.code != 404:
                raise
            self._is_gone = True

    def _remove(self) -> None:
        metadata = self.pod["metadata"]
        with suppress(ApiError):
            wanted = {"uid": metadata["uid"]}
            delete(
                self._machine.registry,
                POD,
                metadata["namespace"],
                metadata["name"],
                Deletion(grace_s=0, preconditions=wanted),
            )

    def _tell(self, kind: Literal["Normal", "Warning"], reason: str, message: str) -> None:
        self._machine.recorder.record(POD, self.pod, Happening(kind, reason, message))

    def _leave(self) -> None:
        self._runs.stop()
        if self._network is not None:
            with suppress(RetortError):
                self._machine.network.detach(self._network)
        shutil.rmtree(self._machine.folder_of(self.pod), ignore_errors=True)
