"""A namespace of a cluster that trains, and the launcher before it."""

import os
from pathlib import Path
from typing import Any

from retort.launch.cluster.cluster import Cluster
from retort.launch.cluster.kinds.errors import JSONObject
from retort.launch.cluster.kinds.table import POD
from retort.launch.cluster.main import TRAINING_IMAGE
from retort.launch.cluster.objects.selectors import Selection
from tests.launch.launcher.playing import CLAIM, Played

STEPS = 40
THIRD = len(os.sched_getaffinity(0)) * 1000 // 3
"""Thousandths of a core that each of three pods can have: requested, and the limit as well."""


class Training(Played):
    """A namespace with a claim for runs; operator, scheduler and kubelet are the cluster's own.

    Attributes:
        runs_directory: where this machine has what pods have at /runs.
    """

    def __init__(self, cluster: Cluster, namespace: str, place: Path, recipe: Path) -> None:
        super().__init__(cluster, namespace, place)
        self.recipe = recipe
        self.runs_directory = cluster.kubeconfig.parent / "claims" / namespace / "runs"
        spec = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}
        self.registry.create(CLAIM, namespace, {"metadata": {"name": "runs"}, "spec": spec})
        self.until(CLAIM, lambda items: all(map(_is_bound, items.values())))

    def tiny(self, **keys: Any) -> Path:
        """A job of two pods that trains by the tiny recipe."""
        tiny: dict[str, Any] = {
            "image": f"{TRAINING_IMAGE}@sha256:{'ab' * 32}",
            "recipe": str(self.recipe),
            "overrides": [],
            "cpu": f"{THIRD}m",
            "memory": "2Gi",
            "shared_memory": "256Mi",
            "runs": {"claim": "runs"},
        }
        return self.job_file(**{**tiny, **keys})

    def all_pods(self) -> list[JSONObject]:
        """As they are."""
        return self.registry.list(POD, Selection(self.namespace)).items

    def annotate(self, pod: str, **notes: str) -> None:
        """Annotations `retort/NAME` of a pod."""

        def changed(item: JSONObject) -> JSONObject:
            there = item["metadata"].setdefault("annotations", {})
            there |= {f"retort/{key}": value for key, value in notes.items()}
            return item

        self.registry.modify(POD, self.namespace, pod, changed)


def _is_bound(claim: JSONObject) -> bool:
    return bool((claim.get("status") or {}).get("phase") == "Bound")
