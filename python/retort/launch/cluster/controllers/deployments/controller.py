"""The controllers of Deployments and ReplicaSets: they read, have it planned, and act."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from retort.launch.cluster.controllers.deployments.plan import DEPLOYMENT, plan
from retort.launch.cluster.controllers.deployments.replicas import REPLICASET, plan_replicas
from retort.launch.cluster.controllers.frame.events import Recorder
from retort.launch.cluster.controllers.frame.items import (
    FINISHED,
    ObjectKey,
    controller_of,
    key_of,
    phase_of,
)
from retort.launch.cluster.controllers.frame.loop import Mapped
from retort.launch.cluster.controllers.frame.outcome import act
from retort.launch.cluster.controllers.frame.watching import controlled, its_controller, itself
from retort.launch.cluster.kinds.errors import JSONObject
from retort.launch.cluster.kinds.kind import Kind
from retort.launch.cluster.kinds.table import POD
from retort.launch.cluster.objects.registry import Registry


class ReplicaSets:
    """Acts on ReplicaSets, and on the pods that they control."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._recorder = Recorder(registry, "replicaset-controller")

    @property
    def watched(self) -> Mapping[Kind, Mapped]:
        return {REPLICASET: itself, POD: its_controller(REPLICASET)}

    def reconcile(self, key: ObjectKey) -> datetime | None:
        item = self._registry.find(REPLICASET, *key)
        if item is None:
            return None
        pods = controlled(self._registry, POD, item)
        outcome = plan_replicas(item, pods, datetime.now(UTC))
        return act(self._registry, self._recorder, REPLICASET, item, outcome)


class Deployments:
    """Acts on Deployments, and on the ReplicaSets that they control."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._recorder = Recorder(registry, "deployment-controller")

    @property
    def watched(self) -> Mapping[Kind, Mapped]:
        return {DEPLOYMENT: itself, REPLICASET: its_controller(DEPLOYMENT), POD: self._of_pod}

    def reconcile(self, key: ObjectKey) -> datetime | None:
        item = self._registry.find(DEPLOYMENT, *key)
        if item is None:
            return None
        sets = controlled(self._registry, REPLICASET, item)
        pods = [
            pod
            for one in sets
            for pod in controlled(self._registry, POD, one)
            if phase_of(pod) not in FINISHED
        ]
        outcome = plan(item, sets, pods, datetime.now(UTC))
        return act(self._registry, self._recorder, DEPLOYMENT, item, outcome)

    def _of_pod(self, pod: JSONObject) -> Iterator[ObjectKey]:
        """The Deployment behind a pod, which waits for the end of old ones."""
        reference = controller_of(pod)
        if reference is None or reference["kind"] != REPLICASET.kind:
            return
        found = self._registry.find(REPLICASET, key_of(pod).namespace, reference["name"])
        if found is not None:
            yield from its_controller(DEPLOYMENT)(found)
