"""A namespace of a cluster that trains, and the launcher before it."""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from retort.launch.cluster.cluster import Cluster
from retort.launch.cluster.kinds.errors import JSONObject
from retort.launch.cluster.kinds.table import POD
from retort.launch.cluster.main import TRAINING_IMAGE
from retort.launch.cluster.objects.selectors import Selection
from tests.launch.cluster.node.pods import need_namespaces
from tests.launch.cluster.training.jobs import job_recipe, plain_seal, training_cluster
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


def a_training_cluster() -> Any:
    """A fixture of a test file: a cluster that trains."""

    @pytest.fixture(scope="module")
    def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
        need_namespaces()
        with training_cluster(tmp_path_factory.mktemp("cluster") / "machine") as one:
            yield one

    return cluster


def a_recipe() -> Any:
    """A fixture of a test file: the tiny recipe."""

    @pytest.fixture(scope="module")
    def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
        return job_recipe(tmp_path_factory.mktemp("recipe"), STEPS)

    return recipe


def a_training() -> Any:
    """A fixture of a test file: a namespace of its cluster, another for each test."""
    numbers = itertools.count()

    @pytest.fixture
    def training(cluster: Cluster, tmp_path: Path, recipe: Path) -> Training:
        return Training(cluster, f"team-{next(numbers)}", tmp_path, recipe)

    return training


def a_seal() -> Any:
    """A fixture of a test file: the seal of a plain run by its recipe."""

    @pytest.fixture(scope="module")
    def seal(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
        return plain_seal(recipe, tmp_path_factory.mktemp("plain") / "run")

    return seal
