"""Controllers over a registry of their own, and the test in the place of whoever runs pods."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from retort.launch.cluster.controllers.controllers import Controllers
from retort.launch.cluster.controllers.scheduling.node import Node
from retort.launch.cluster.kinds.errors import JSONObject
from retort.launch.cluster.kinds.kind import Kind
from retort.launch.cluster.kinds.table import EVENT, NAMESPACE, POD, kind_of
from retort.launch.cluster.objects.collector import Collector
from retort.launch.cluster.objects.deletion import Deletion, delete
from retort.launch.cluster.objects.registry import Registry
from retort.launch.cluster.objects.selectors import Selection
from retort.launch.cluster.objects.writing import Writing
from retort.launch.cluster.store.store import Store

CLAIM = kind_of("v1", "PersistentVolumeClaim")
PYTORCHJOB = kind_of("kubeflow.org/v1", "PyTorchJob")
SERVICE = kind_of("v1", "Service")
NODE = Node("here", {"cpu": "4", "memory": "16Gi", "nvidia.com/gpu": "2"})
_STATUS = Writing("node", subresource="status")

Objects = dict[str, JSONObject]
"""Of one kind, by name."""


class Play:
    """What a test does and sees in a namespace."""

    def __init__(self, registry: Registry, namespace: str = "default") -> None:
        self.registry = registry
        self.namespace = namespace

    def make(self, kind: Kind, item: JSONObject) -> JSONObject:
        return self.registry.create(kind, self.namespace, item)

    def get(self, kind: Kind, name: str) -> JSONObject:
        return self.registry.get(kind, self.namespace, name)

    def change(self, kind: Kind, name: str, change: Callable[[JSONObject], None]) -> None:
        """What a user edits."""

        def changed(item: JSONObject) -> JSONObject:
            change(item)
            return item

        self.registry.modify(kind, self.namespace, name, changed)

    def annotate(self, kind: Kind, name: str, **annotations: str) -> None:
        self.change(
            kind,
            name,
            lambda item: item["metadata"].setdefault("annotations", {}).update(annotations),
        )

    def all(self, kind: Kind) -> Objects:
        listed = self.registry.list(kind, Selection(self.namespace)).items
        return {one["metadata"]["name"]: one for one in listed}

    def wait(self, kind: Kind, holds: Callable[[Objects], Any]) -> Objects:
        """The objects of a kind, once something holds of them."""
        with self.registry.watch(kind, Selection(self.namespace)) as changes:
            found = self.all(kind)
            if holds(found):
                return found
            for _ in changes:
                found = self.all(kind)
                if holds(found):
                    return found
        raise AssertionError("the watch has ended")

    def wait_for(self, kind: Kind, name: str, holds: Callable[[JSONObject], Any]) -> JSONObject:
        """An object, once it is there and something holds of it."""
        return self.wait(kind, lambda found: name in found and holds(found[name]))[name]

    def wait_other(self, kind: Kind, name: str, uid: str) -> JSONObject:
        """An object of that name that is not the one there was."""
        return self.wait_for(kind, name, lambda item: item["metadata"]["uid"] != uid)

    def wait_true(self, kind: Kind, name: str, condition: str) -> JSONObject:
        return self.wait_for(kind, name, lambda item: condition in true(item))

    def placed(self, number: int) -> Objects:
        """The pods, once there are so many that have a node."""
        return self.wait(
            POD,
            lambda found: len(found) == number
            and all(one["spec"].get("nodeName") for one in found.values()),
        )

    def be(self, name: str, status: JSONObject) -> None:
        """Write the status of a pod, as whoever runs it does; what the scheduler said stays."""

        def changed(pod: JSONObject) -> JSONObject:
            said = [
                one
                for one in pod["status"].get("conditions") or ()
                if one["type"] == "PodScheduled"
            ]
            conditions = [*said, *(status.get("conditions") or ())]
            return {**pod, "status": {**status, "conditions": conditions}}

        self.registry.modify(POD, self.namespace, name, changed, _STATUS)

    def gone(self, name: str) -> None:
        """A pod that is being deleted has ended."""
        delete(self.registry, POD, self.namespace, name, Deletion(grace_s=0))

    def reap(self) -> None:
        """All pods that are being deleted have ended."""
        for name, pod in self.all(POD).items():
            if "deletionTimestamp" in pod["metadata"]:
                self.gone(name)

    def events(self, name: str) -> list[tuple[str, str, str]]:
        """Of an object: type, reason and message."""
        return [
            (one["type"], one["reason"], one["message"])
            for one in self.all(EVENT).values()
            if one["involvedObject"]["name"] == name
        ]

    def wait_event(self, name: str, reason: str) -> str:
        """The message of an event, once there is one."""

        def found(events: Objects) -> list[str]:
            return [
                one["message"]
                for one in events.values()
                if one["involvedObject"]["name"] == name and one["reason"] == reason
            ]

        return found(self.wait(EVENT, found))[0]


def true(item: JSONObject) -> set[str]:
    """The conditions that hold of an object."""
    listed = (item.get("status") or {}).get("conditions") or ()
    return {one["type"] for one in listed if one["status"] == "True"}


@contextmanager
def playing(directory: Path, history: int = 4_000, gangs: bool = False) -> Iterator[Play]:
    """Controllers, in a directory that may have had some before."""
    store = Store(directory / "objects", history)
    registry = Registry(store)
    if registry.find(NAMESPACE, "", "default") is None:
        registry.create(NAMESPACE, "", {"metadata": {"name": "default"}})
    collector = Collector(registry)
    try:
        with Controllers(registry, NODE, directory / "claims", gangs):
            yield Play(registry)
    finally:
        collector.close()
        store.close()
