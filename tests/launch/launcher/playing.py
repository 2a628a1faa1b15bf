"""The launcher before a real API server, whose operator, scheduler and kubelet the test itself plays."""

import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from retort.core.forks.client import run
from retort.launch.cluster.cluster import Cluster
from retort.launch.cluster.kinds.errors import JSONObject
from retort.launch.cluster.kinds.kind import Kind
from retort.launch.cluster.kinds.table import EVENT, NAMESPACE, POD, kind_of
from retort.launch.cluster.logs.logs import log_file
from retort.launch.cluster.objects.deletion import Deletion, delete
from retort.launch.cluster.objects.selectors import Selection
from retort.launch.cluster.objects.writing import Writing
from tests.launch.launcher.command import Command

LAUNCHER = "retort.launch.launcher.main"
CHECKOUT = Path(__file__).resolve().parents[3]
PYTORCHJOB = kind_of("kubeflow.org/v1", "PyTorchJob")
TRAINJOB = kind_of("trainer.kubeflow.org/v1alpha1", "TrainJob")
CLAIM = kind_of("v1", "PersistentVolumeClaim")
QUEUE = kind_of("kueue.x-k8s.io/v1beta1", "LocalQueue")
IMAGE = f"registry.example/retort-training@sha256:{'ab' * 32}"
STATUS = Writing(manager="training-operator", subresource="status")
SEAL = f"sha256:{'5d' * 32}"


class Played:
    """A namespace of a cluster, in which the test makes happen what operators and machines would."""

    def __init__(self, cluster: Cluster, namespace: str, place: Path) -> None:
        self.cluster, self.namespace, self.place = cluster, namespace, place
        self.registry = cluster.registry
        self.registry.create(NAMESPACE, "", {"metadata": {"name": namespace}})

    def job_file(self, name: str = "news", **keys: Any) -> Path:
        """A job of two pods, in a file, with some keys of its own."""
        values: dict[str, Any] = {
            "name": name,
            "image": IMAGE,
            "recipe": "smoke",
            "overrides": ["train.shards=4"],
            "nodes": 2,
            "cpu": 2,
            "memory": "4Gi",
            "runs": {"claim": "runs", "size": "1Gi"},
            **keys,
        }
        file = self.place / f"{name}.yaml"
        kept = {key: value for key, value in values.items() if value is not None}
        file.write_text(yaml.safe_dump(kept), encoding="utf-8")
        return file

    def typed(self, *words: object) -> "tuple[int, str, str]":
        """Exit code, standard output and standard error of a command."""
        done = run([LAUNCHER, *self.words_of(words)], self.environment())
        return done.returncode, done.stdout, done.stderr

    def started(self, *words: object) -> "Command":
        """A command that goes on."""
        return Command([LAUNCHER, *self.words_of(words)], self.environment())

    def launch(self, *words: object, **keys: Any) -> JSONObject:
        """Launch a job by the launcher, and give it as it is there."""
        file = self.job_file(**keys)
        code, _, errors = self.typed("launch", file, "--yes", *words)
        assert code == 0, errors
        kind = TRAINJOB if "v2" in words else PYTORCHJOB
        return self.registry.get(kind, self.namespace, keys.get("name", "news"))

    def make_pods(self, job: JSONObject, numbers: Sequence[int] | None = None) -> list[str]:
        """As the training operator makes them: of the template, with its labels; `numbers` of them."""
        worker = job["spec"]["pytorchReplicaSpecs"]["Worker"]
        name, template = job["metadata"]["name"], worker["template"]
        made = []
        for number in range(worker["replicas"]) if numbers is None else numbers:
            labels = {
                **(template["metadata"].get("labels") or {}),
                "training.kubeflow.org/job-name": name,
                "training.kubeflow.org/replica-index": str(number),
            }
            pod = f"{name}-worker-{number}"
            spec = {**template["spec"], "restartPolicy": "Never"}
            metadata = {"name": pod, "labels": labels, "ownerReferences": [_owner(job)]}
            self.registry.create(POD, self.namespace, {"metadata": metadata, "spec": spec})
            made.append(pod)
        return made

    def pod(self, name: str) -> JSONObject:
        """A pod as it is."""
        return self.registry.get(POD, self.namespace, name)

    def pods(self) -> list[str]:
        """Names of all pods."""
        listing = self.registry.list(POD, Selection(self.namespace))
        return [one["metadata"]["name"] for one in listing.items]

    def status(self, kind: Kind, name: str, **status: Any) -> None:
        """Set fields of an object's status, as who acts on it does."""

        def change(item: JSONObject) -> JSONObject:
            item["status"] = {**(item.get("status") or {}), **status}
            return item

        self.registry.modify(kind, self.namespace, name, change, STATUS)

    def unschedulable(self, pod: str, message: str) -> None:
        """As kube-scheduler leaves a pod that no machine can take."""
        condition = {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": message,
            "lastTransitionTime": _now(),
        }
        self.status(POD, pod, phase="Pending", conditions=[condition])

    def waits(self, pod: str, reason: str, message: str = "", first: str = "") -> None:
        """As the kubelet tells of a container that cannot start; with `first` of an init container."""
        state = {"waiting": {"reason": reason, "message": message}}
        key = "initContainerStatuses" if first else "containerStatuses"
        self.status(POD, pod, phase="Pending", **{key: [_container(first or "pytorch", state)]})

    def runs(self, *pods: str) -> None:
        """As the kubelet tells of pods that run."""
        for pod in pods:
            self._place(pod)
            ready = {"type": "Ready", "status": "True", "lastTransitionTime": _now()}
            container = _container("pytorch", {"running": {"startedAt": _now()}})
            self.status(
                POD, pod, phase="Running", conditions=[ready], containerStatuses=[container]
            )

    def ends(self, pod: str, code: int, said: str = "", reason: str = "") -> None:
        """As the kubelet tells of a pod that has ended."""
        done = {
            "exitCode": code,
            "reason": reason or ("Error" if code else "Completed"),
            "message": said,
            "startedAt": _now(),
            "finishedAt": _now(),
        }
        phase = "Failed" if code else "Succeeded"
        container = _container("pytorch", {"terminated": done})
        self.status(POD, pod, phase=phase, containerStatuses=[container])

    def says(self, pod: str, *lines: str) -> None:
        """Append to a container's log, as its runtime does."""
        file = log_file(self.cluster.logs, self.pod(pod), "pytorch", 0)
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a", encoding="utf-8") as log:
            for line in lines:
                time = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")
                log.write(f"{time} stdout F {line}\n")

    def event(self, kind: Kind, name: str, reason: str, message: str) -> None:
        """An event about an object."""
        item = self.registry.get(kind, self.namespace, name)
        about = {
            "kind": kind.kind,
            "apiVersion": kind.api_version,
            "name": name,
            "namespace": self.namespace,
            "uid": item["metadata"]["uid"],
        }
        event = {
            "metadata": {"generateName": f"{name}."},
            "involvedObject": about,
            "reason": reason,
            "message": message,
            "type": "Warning",
            "lastTimestamp": _now(),
            "count": 1,
        }
        self.registry.create(EVENT, self.namespace, event)

    def condition(self, job: str, kind: str, message: str = "", reason: str = "") -> None:
        """A condition of a PyTorchJob, as its operator sets it."""
        one = {
            "type": kind,
            "status": "True",
            "reason": reason or f"PyTorchJob{kind}",
            "message": message,
            "lastTransitionTime": _now(),
        }
        self.status(PYTORCHJOB, job, conditions=[one])

    def removes(self, pod: str) -> None:
        """As the kubelet, when a pod that is deleted has ended."""
        delete(self.registry, POD, self.namespace, pod, Deletion(grace_s=0))

    def deletions(self, *pods: str) -> None:
        """Return when these pods are marked as going, or gone."""
        self.until(POD, lambda items: all(not _stays(items, name) for name in pods))

    def until(self, kind: Kind, holds: Callable[[dict[str, JSONObject]], bool]) -> None:
        """Return when something holds of all objects of a kind, by name."""
        with self.registry.watch(kind, Selection(self.namespace)) as watch:
            changes = iter(watch)
            while True:
                listing = self.registry.list(kind, Selection(self.namespace))
                if holds({one["metadata"]["name"]: one for one in listing.items}):
                    return
                next(changes)

    def _place(self, pod: str) -> None:
        def change(item: JSONObject) -> JSONObject:
            item["spec"].setdefault("nodeName", "machine-1")
            return item

        self.registry.modify(POD, self.namespace, pod, change)

    def words_of(self, words: Sequence[object]) -> list[str]:
        """The arguments of a command before this namespace."""
        command, *rest = map(str, words)
        place = ("--kubeconfig", str(self.cluster.kubeconfig), "--namespace", self.namespace)
        return [command, *place, *rest]

    def environment(self) -> dict[str, str]:
        """As of somebody who types in the test's directory."""
        return {**os.environ, "BUILD_WORKING_DIRECTORY": str(self.place)}


def _owner(job: JSONObject) -> JSONObject:
    return {
        "apiVersion": job["apiVersion"],
        "kind": job["kind"],
        "name": job["metadata"]["name"],
        "uid": job["metadata"]["uid"],
        "controller": True,
    }


def _container(name: str, state: JSONObject) -> JSONObject:
    ready = "running" in state
    return {
        "name": name,
        "image": IMAGE,
        "imageID": "",
        "ready": ready,
        "restartCount": 0,
        "state": state,
    }


def _stays(items: dict[str, JSONObject], name: str) -> bool:
    return name in items and "deletionTimestamp" not in items[name]["metadata"]


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
