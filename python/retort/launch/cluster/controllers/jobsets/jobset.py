"""A JobSet as its controller reads it, and the jobs and service that it makes
(https://jobset.sigs.k8s.io/docs/concepts/)."""

import copy
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from retort.launch.cluster.controllers.frame.items import (
    labels_of,
    name_of,
    owner_reference,
    spec_of,
    status_of,
)
from retort.launch.cluster.kinds.errors import JSONObject
from retort.launch.cluster.kinds.table import kind_of

JOBSET = kind_of("jobset.x-k8s.io/v1alpha2", "JobSet")
_LABEL = "jobset.sigs.k8s.io/"
PARENT = f"{_LABEL}replicatedjob-name"
_ATTEMPT = f"{_LABEL}restart-attempt"


@dataclass(frozen=True)
class ReplicatedJob:
    """Jobs of one template."""

    name: str
    replicas: int
    template: Mapping[str, Any]
    depends_on: tuple[Mapping[str, Any], ...]


class JobSet:
    """What a JobSet says, with all that is taken for granted."""

    def __init__(self, item: JSONObject) -> None:
        self.item = item
        self.name = name_of(item)
        self.namespace = str(item["metadata"]["namespace"])
        self.spec = spec_of(item)
        self.restarts = int(status_of(item).get("restarts", 0))
        self.suspended = bool(self.spec.get("suspend"))
        self.failure_policy: Mapping[str, Any] | None = self.spec.get("failurePolicy")
        self.replicated = tuple(
            ReplicatedJob(
                one["name"],
                int(one.get("replicas", 1)),
                one["template"],
                tuple(one.get("dependsOn") or ()),
            )
            for one in self.spec.get("replicatedJobs") or ()
        )

    @property
    def network(self) -> Mapping[str, Any]:
        return dict(self.spec.get("network") or {})

    @property
    def has_names(self) -> bool:
        """Whether its pods have names of their own."""
        return bool(self.network.get("enableDNSHostnames", True))

    @property
    def subdomain(self) -> str:
        return str(self.network.get("subdomain") or self.name)

    @property
    def in_order(self) -> bool:
        return (self.spec.get("startupPolicy") or {}).get("startupPolicyOrder") == "InOrder"

    def job_name(self, replicated: ReplicatedJob, index: int) -> str:
        return f"{self.name}-{replicated.name}-{index}"

    def job(self, replicated: ReplicatedJob, index: int) -> JSONObject:
        """A job. Its pod of completion J has the host name `<jobset>-<replicated>-<index>-J`."""
        template = copy.deepcopy(dict(replicated.template))
        spec = template.get("spec") or {}
        spec.setdefault("completionMode", "Indexed")
        spec.setdefault("parallelism", 1)
        spec.setdefault("completions", spec["parallelism"])
        spec["suspend"] = self.suspended
        pod = spec["template"]
        pod["spec"].setdefault("restartPolicy", "OnFailure")
        if self.has_names:
            pod["spec"]["subdomain"] = self.subdomain
        said = self._labels(replicated, index)
        marked = []
        for metadata in (template.get("metadata") or {}, pod.get("metadata") or {}):
            both = {
                word: {**(metadata.get(word) or {}), **said} for word in ("labels", "annotations")
            }
            marked.append(both)
        pod["metadata"] = marked[1]
        return {
            "metadata": {
                "name": self.job_name(replicated, index),
                **marked[0],
                "ownerReferences": [owner_reference(JOBSET, self.item)],
            },
            "spec": spec,
        }

    def _labels(self, replicated: ReplicatedJob, index: int) -> dict[str, str]:
        """Of a job and of its pods; their annotations are the same."""
        before = 0
        for one in self.replicated:
            if one.name == replicated.name:
                break
            before += one.replicas
        place = f"{self.namespace}/{self.job_name(replicated, index)}"
        said = {
            "jobset-name": self.name,
            "jobset-uid": self.item["metadata"]["uid"],
            "replicatedjob-name": replicated.name,
            "replicatedjob-replicas": str(replicated.replicas),
            "global-replicas": str(sum(one.replicas for one in self.replicated)),
            "job-index": str(index),
            "job-global-index": str(before + index),
            "job-key": hashlib.sha1(place.encode(), usedforsecurity=False).hexdigest(),
            "restart-attempt": str(self.restarts),
        }
        leader = self.spec.get("coordinator")
        if leader:
            where = "-".join(str(leader.get(one, 0)) for one in ("jobIndex", "podIndex"))
            said["coordinator"] = f"{self.name}-{leader['replicatedJob']}-{where}.{self.subdomain}"
        return {f"{_LABEL}{key}": value for key, value in said.items()}

    def service(self) -> JSONObject:
        """What gives pods their names."""
        return {
            "metadata": {
                "name": self.subdomain,
                "ownerReferences": [owner_reference(JOBSET, self.item)],
            },
            "spec": {
                "clusterIP": "None",
                "selector": {f"{_LABEL}jobset-name": self.name},
                "publishNotReadyAddresses": self.network.get("publishNotReadyAddresses", True),
            },
        }


def parent_of(job: JSONObject) -> str:
    """Of which replicated job a job is."""
    return labels_of(job).get(PARENT, "")


def attempt_of(job: JSONObject) -> int:
    """In which run of the whole set a job was made."""
    text = labels_of(job).get(_ATTEMPT, "")
    return int(text) if text.isdecimal() else -1
