"""A PyTorchJob as its operator reads it."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from retort.launch.cluster.admission.pytorchjob import CONTAINER, OPERATOR, complete
from retort.launch.cluster.kinds.errors import JSONObject

MASTER, WORKER = "Master", "Worker"
PORT_NAME = "pytorchjob-port"
_PORT = 23456
_LABEL = "training.kubeflow.org/"
_CONTROLLER = "pytorchjob-controller"


@dataclass(frozen=True)
class Replica:
    """Pods of one type.

    Attributes:
        type: Master or Worker.
        number: how many.
        restarts: what becomes of pods that fail: OnFailure, Always, Never, ExitCode.
        template: of its pods, with the operator's port.
    """

    type: str
    number: int
    restarts: str
    template: Mapping[str, Any]

    @property
    def word(self) -> str:
        """The type as names and labels have it."""
        return self.type.lower()

    @property
    def ports(self) -> list[dict[str, Any]]:
        """Of the container that trains."""
        for container in (self.template.get("spec") or {}).get("containers") or ():
            if container.get("name") == CONTAINER:
                return list(container.get("ports") or ())
        return []

    @property
    def port(self) -> int:
        """At which its pods are met."""
        return next(
            (int(one["containerPort"]) for one in self.ports if one.get("name") == PORT_NAME), _PORT
        )


@dataclass(frozen=True)
class PyTorchJob:
    """What a job says, complete.

    Attributes:
        item: the object.
        replicas: Master before Worker.
    """

    item: JSONObject
    spec: Mapping[str, Any]
    replicas: tuple[Replica, ...]

    @property
    def name(self) -> str:
        return str(self.item["metadata"]["name"])

    @property
    def namespace(self) -> str:
        return str(self.item["metadata"]["namespace"])

    @property
    def policy(self) -> Mapping[str, Any]:
        return dict(self.spec.get("runPolicy") or {})

    @property
    def elastic(self) -> Mapping[str, Any] | None:
        return self.spec.get("elasticPolicy")

    @property
    def is_ours(self) -> bool:
        """Whether no other controller was named for it."""
        return self.policy.get("managedBy") in (None, OPERATOR)

    @property
    def total(self) -> int:
        """How many pods it has."""
        return sum(one.number for one in self.replicas)

    def replica(self, kind: str) -> Replica | None:
        return next((one for one in self.replicas if one.type == kind), None)

    @property
    def labels(self) -> dict[str, str]:
        """By which its pods and services are known."""
        return {
            f"{_LABEL}operator-name": _CONTROLLER,
            f"{_LABEL}job-name": self.name.replace("/", "-"),
        }

    def labels_of(self, replica: Replica, index: int) -> dict[str, str]:
        """Of one pod, without its role."""
        return {
            **self.labels,
            f"{_LABEL}replica-type": replica.word,
            f"{_LABEL}replica-index": str(index),
        }

    def role_of(self, replica: Replica, index: int) -> dict[str, str]:
        """What marks the pod whose output counts."""
        leads = index == 0 if self.replica(MASTER) is None else replica.type == MASTER
        return {f"{_LABEL}job-role": "master"} if leads else {}

    def name_of(self, replica: Replica, index: int) -> str:
        """Of a pod and of its service."""
        return f"{self.name}-{replica.word}-{index}".replace("/", "-")


def index_of(item: JSONObject) -> int:
    """Which of its type a pod or service is; -1 where it does not say."""
    text = (item["metadata"].get("labels") or {}).get(f"{_LABEL}replica-index", "")
    return int(text) if text.isdecimal() else -1


def is_of(replica: Replica, item: JSONObject) -> bool:
    labels = item["metadata"].get("labels") or {}
    return labels.get(f"{_LABEL}replica-type") == replica.word


def read_job(item: JSONObject) -> PyTorchJob:
    """A job with all that its operator takes for granted."""
    item = copy.deepcopy(item)
    complete(item)
    spec = item["spec"]
    replicas = spec.get("pytorchReplicaSpecs") or {}
    return PyTorchJob(
        item,
        spec,
        tuple(_replica(kind, replicas[kind]) for kind in (MASTER, WORKER) if kind in replicas),
    )


def _replica(kind: str, found: Mapping[str, Any]) -> Replica:
    template: dict[str, Any] = copy.deepcopy(dict(found["template"]))
    for container in template["spec"]["containers"]:
        ports = container.setdefault("ports", []) if container["name"] == CONTAINER else None
        if ports is not None and not any(one.get("name") == PORT_NAME for one in ports):
            ports.append({"name": PORT_NAME, "containerPort": _PORT, "protocol": "TCP"})
    return Replica(kind, int(found["replicas"]), str(found["restartPolicy"]), template)
