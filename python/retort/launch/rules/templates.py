"""Where objects of each kind have their pods."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from retort.launch.rules.documents import Document

_TEMPLATES = {
    "CronJob": "spec.jobTemplate.spec.template",
    "DaemonSet": "spec.template",
    "Deployment": "spec.template",
    "Job": "spec.template",
    "Pod": "",
    "ReplicaSet": "spec.template",
    "StatefulSet": "spec.template",
}


@dataclass(frozen=True)
class Pods:
    """Pods that an object asks for.

    Attributes:
        at: the path of their template.
        replicas: how many there are of them.
    """

    document: Document
    at: str
    template: Mapping[str, Any]
    replicas: int = 1

    @property
    def spec(self) -> Mapping[str, Any]:
        return self.template.get("spec") or {}

    @property
    def path(self) -> str:
        """Of the pod's specification."""
        return f"{self.at}.spec".lstrip(".")

    @property
    def labels(self) -> Mapping[str, str]:
        return (self.template.get("metadata") or {}).get("labels") or {}

    @property
    def annotations(self) -> Mapping[str, str]:
        return (self.template.get("metadata") or {}).get("annotations") or {}

    def containers(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Each container and its path, those that run first before."""
        for key in ("initContainers", "containers"):
            for number, one in enumerate(self.spec.get(key) or []):
                yield f"{self.path}.{key}.{number}", one

    def volumes(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Each volume and its path."""
        for number, one in enumerate(self.spec.get("volumes") or []):
            yield f"{self.path}.volumes.{number}", one


def pods_of(document: Document) -> list[Pods]:
    """The pods of an object of a known kind."""
    if document.kind in _TEMPLATES:
        path = _TEMPLATES[document.kind]
        template = at(document.value, path) if path else document.value
        replicas = document.spec.get("replicas")
        some = replicas if isinstance(replicas, int) else document.spec.get("parallelism") or 1
        return [Pods(document, path, template, some)] if template else []
    if document.kind == "PyTorchJob":
        return [
            Pods(document, f"{path}.template", spec["template"], spec.get("replicas", 1))
            for path, spec in replica_specs(document)
            if spec.get("template")
        ]
    if document.kind in ("TrainingRuntime", "ClusterTrainingRuntime"):
        return list(_replicated(document))
    return []


def replica_specs(document: Document) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The replicas of a PyTorchJob and their paths."""
    for kind, spec in (document.spec.get("pytorchReplicaSpecs") or {}).items():
        yield f"spec.pytorchReplicaSpecs.{kind}", spec or {}


def _replicated(document: Document) -> Iterator[Pods]:
    path = "spec.template.spec.replicatedJobs"
    nodes = at(document.value, "spec.mlPolicy.numNodes") or 1
    for number, job in enumerate(at(document.value, path)):
        if template := at(job, "template.spec.template"):
            yield Pods(document, f"{path}.{number}.template.spec.template", template, nodes)


def at(value: Any, path: str) -> Any:
    """What is at a dotted path; an empty mapping where there is nothing."""
    for key in path.split("."):
        value = (value or {}).get(key)
    return value or {}
