"""What acts on a node: it runs the pods that are given to it, and keeps their names."""

import logging
import shutil
import threading
from collections import defaultdict
from collections.abc import Iterable

from retort.core.errors import RetortError
from retort.launch.cluster.kinds.errors import ApiError, JSONObject
from retort.launch.cluster.kinds.table import POD, kind_of
from retort.launch.cluster.logs.logs import log_file
from retort.launch.cluster.node.machine import Machine
from retort.launch.cluster.node.network.names import names
from retort.launch.cluster.node.network.proxies import Proxies, routes
from retort.launch.cluster.node.pods.sources import CLAIM, CONFIG_MAP, SECRET
from retort.launch.cluster.node.worker import FINISHED, PodWorker
from retort.launch.cluster.objects.reading import Watch

SERVICE = kind_of("v1", "Service")
_log = logging.getLogger("retort.launch")
_AGAIN_S = 1.0


class Kubelet:
    """Runs pods until it is closed; what runs then ends with it.

    Args:
        machine: what they are run with.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._proxies = Proxies(machine.network)
        self._workers: dict[str, PodWorker] = {}
        self._lock = threading.Lock()
        self._woken = threading.Event()
        self._woken.set()
        self._closed = False
        self._end = machine.registry.store.listen(self._woken.set)
        self._watches: list[Watch] = []
        self._thread = threading.Thread(target=self._run, name="kubelet", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End, and with it everything that runs, without waiting for it to agree."""
        self._closed = True
        self._end()
        self._woken.set()
        self._thread.join()
        self._proxies.close()
        for worker in self._all():
            worker.remove()
        for worker in self._all():
            worker.join()

    def _all(self) -> list[PodWorker]:
        with self._lock:
            return list(self._workers.values())

    def _run(self) -> None:
        while True:
            self._woken.wait()
            if self._closed:
                return
            self._woken.clear()
            try:
                self._look()
            except (RetortError, ApiError) as error:
                _log.warning("kubelet: %s; trying again", error)
                self._watches = []
                threading.Event().wait(_AGAIN_S)
                self._woken.set()

    def _look(self) -> None:
        """Take in what has changed."""
        registry = self._machine.registry
        if not self._watches:
            listing = registry.list(POD)
            self._take(listing.items)
            there = {pod["metadata"]["uid"] for pod in listing.items}
            for worker in self._all():
                if worker.pod["metadata"]["uid"] not in there:
                    worker.remove()
            kinds = (POD, SERVICE, CLAIM, CONFIG_MAP, SECRET)
            self._watches = [registry.watch(kind, since=listing.revision) for kind in kinds]
            self._rename()
            return
        pods, *others = [watch.pending() for watch in self._watches]
        for event in pods:
            if event.type == "DELETED":
                self._forget(event.item)
            else:
                self._take([event.item])
        services, *named = others
        renamed = bool(pods or services) and self._rename()
        if renamed or any(named):
            for worker in self._all():
                worker.look()

    def _take(self, pods: Iterable[JSONObject]) -> None:
        for pod in pods:
            metadata, status = pod["metadata"], pod.get("status") or {}
            if pod["spec"].get("nodeName") != self._machine.name:
                continue
            with self._lock:
                worker = self._workers.get(metadata["uid"])
                if worker is not None:
                    worker.change(pod)
                elif status.get("phase") not in FINISHED:
                    self._workers[metadata["uid"]] = PodWorker(pod, self._machine, self._over)

    def _forget(self, pod: JSONObject) -> None:
        with self._lock:
            worker = self._workers.get(pod["metadata"]["uid"])
        if worker is not None:
            worker.remove()
        # Of this pod alone: without a container's name, the file's folder is the pod's.
        shutil.rmtree(log_file(self._machine.logs, pod, "", 0).parent, ignore_errors=True)

    def _over(self, worker: PodWorker) -> None:
        with self._lock:
            self._workers.pop(worker.pod["metadata"]["uid"], None)

    def _rename(self) -> bool:
        """Have the names as services and pods are now; whether any has changed."""
        registry, is_early = self._machine.registry, not self._machine.network.is_isolated
        services: dict[str, list[JSONObject]] = defaultdict(list)
        pods: dict[str, list[JSONObject]] = defaultdict(list)
        for found, kind in ((services, SERVICE), (pods, POD)):
            for item in registry.list(kind).items:
                found[item["metadata"]["namespace"]].append(item)
        new = {
            namespace: names(listed, pods[namespace], is_early=is_early)
            for namespace, listed in services.items()
        }
        self._proxies.set(
            {
                place: targets
                for namespace, listed in services.items()
                for place, targets in routes(listed, pods[namespace]).items()
                if self._machine.network.is_isolated
            }
        )
        return self._machine.names.replace(new)
