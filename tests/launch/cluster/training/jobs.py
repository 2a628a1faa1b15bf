"""Jobs of the overlay `local` with the tiny recipe, applied by kubectl, on a node that has the trainer as a program."""

import json
import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from retort.core.seal import verify
from retort.launch.cluster.cluster import Cluster
from retort.launch.cluster.kinds.kind import Kind
from retort.launch.cluster.kinds.table import POD, kind_of
from retort.launch.cluster.main import TRAINING_IMAGE
from retort.launch.cluster.node.network.names import is_ready
from retort.launch.cluster.objects.selectors import Selection
from tests.launch.cluster.node.pods import acting
from tests.launch.cluster.running import Kubectl
from tests.tiny.runs import sealed, steps_written, tiny_recipe, train, typed

K8S = Path(__file__).resolve().parents[4] / "k8s"
JOB = kind_of("kubeflow.org/v1", "PyTorchJob")
NAMESPACE = kind_of("v1", "Namespace")
NAME = "training"
"""Of the job of the overlays."""


def job_recipe(root: Path, steps: int) -> Path:
    """The tiny recipe for up to four processes, with a checkpoint every five steps."""
    sections = {"train": {"steps": steps, "shards": 4}, "checkpoints": {"every": 5}}
    return tiny_recipe(root, sections)


def plain_seal(recipe: Path, out: Path) -> str:
    """The seal of a run by one process, without a cluster."""
    return sealed(train(typed(recipe, out, "--nproc", "1")))


@contextmanager
def training_cluster(directory: Path, **options: Any) -> Iterator[Cluster]:
    """A cluster whose training image is the trainer of these sources; `acting` has the options."""
    directory.mkdir()
    trainer = directory / "trainer"
    words = shlex.join([sys.executable, "-m", "retort.train.main"])
    paths = shlex.quote(os.environ.get("PYTHONPATH", ""))
    trainer.write_text(f'#!/bin/sh\nPYTHONPATH={paths} exec {words} "$@"\n')
    trainer.chmod(0o755)
    images = {TRAINING_IMAGE: trainer}
    with acting(directory / "cluster", images=images, **options) as cluster:
        yield cluster


class TrainingJob:
    """The job in a namespace of its own.

    Args:
        recipe: the file of its recipe.
        place: an empty directory, for an overlay of its own.
    """

    def __init__(self, cluster: Cluster, place: Path, recipe: Path) -> None:
        self.cluster = cluster
        self.place = place
        self.namespace = place.name
        self.kubectl = Kubectl(cluster.kubeconfig, place)
        self.run = cluster.kubeconfig.parent / "claims" / self.namespace / "runs" / NAME
        place.mkdir()
        (place / "recipe.yaml").write_bytes(recipe.read_bytes())
        cluster.registry.create(NAMESPACE, "", {"metadata": {"name": self.namespace}})

    def apply(
        self, pods: int = 2, processes: int = 2, arguments: Sequence[str] = (), **notes: str
    ) -> None:
        """Apply it, as a person does.

        Args:
            arguments: further ones of the trainer.
            notes: annotations `retort/NAME` of its pods.
        """
        spec = "/spec/pytorchReplicaSpecs/Worker/template"
        container = f"{spec}/spec/containers/0"
        patches: list[tuple[str, str, object]] = [
            ("replace", "/spec/pytorchReplicaSpecs/Worker/replicas", pods),
            ("replace", "/spec/elasticPolicy/minReplicas", pods),
            ("replace", "/spec/elasticPolicy/maxReplicas", pods),
            ("replace", "/spec/nprocPerNode", str(processes)),
            ("replace", f"{container}/resources/requests", {"cpu": "1m", "memory": "1Mi"}),
            *(("add", f"{container}/args/-", word) for word in arguments),
            *(("add", f"{spec}/metadata/annotations/retort~1{key}", v) for key, v in notes.items()),
        ]
        listed = [{"op": op, "path": path, "value": value} for op, path, value in patches]
        kustomization = {
            "namespace": self.namespace,
            "resources": [
                os.path.relpath(K8S / "overlays" / "local", os.path.realpath(self.place))
            ],
            "configMapGenerator": [
                {"name": "training-recipe", "behavior": "replace", "files": ["recipe.yaml"]}
            ],
            "patches": [{"target": {"kind": "PyTorchJob"}, "patch": json.dumps(listed)}],
        }
        (self.place / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
        self.kubectl.said("apply", "-k", ".")

    def until_step(self, step: int) -> None:
        """Wait until the run has written so many steps."""
        while steps_written(self.run) < step:
            assert not self._ended(self.job()), self.told()
            os.sched_yield()

    def until_moving(self) -> None:
        """Wait until the run goes on: what it had written before a start is no sign of it."""
        for _ in range(2):
            # The first change may be what a start takes back, to its checkpoint.
            before = steps_written(self.run)
            while steps_written(self.run) == before:
                assert not self._ended(self.job()), self.told()
                os.sched_yield()

    def until_ended(self) -> str:
        """Wait for its end: Succeeded or Failed."""
        registry = self.cluster.registry
        with registry.watch(JOB, Selection(self.namespace)) as watch:
            ended = self._ended(self.job())
            if ended:
                return ended
            for event in watch:
                ended = self._ended(event.item)
                if ended:
                    return ended
        raise AssertionError("a watch does not end by itself")

    def seal(self) -> str:
        """The seal of its checkpoint, verified."""
        return verify(self.run / "checkpoint").seal

    def annotate(self, pod: str, **notes: str) -> None:
        """As `kubectl annotate` does it; an empty text takes one away."""
        words = [
            f"retort/{key}={value}" if value else f"retort/{key}-" for key, value in notes.items()
        ]
        self.kubectl.said("annotate", "-n", self.namespace, "pod", pod, "--overwrite", *words)

    def running(self, names: Sequence[str]) -> dict[str, str]:
        """The identities of pods by their names, as soon as all of these run."""
        while True:
            pods = {one["metadata"]["name"]: one for one in self._listed(POD)}
            found = [pods[name] for name in names if name in pods]
            if len(found) == len(names) and all(is_ready(one) for one in found):
                return {one["metadata"]["name"]: one["metadata"]["uid"] for one in found}
            assert not self._ended(self.job()), self.told()
            os.sched_yield()

    def hold_names(self) -> None:
        """Have pods that are made from now on get no name."""
        self._patch({"annotations": {"retort/name": "held"}})

    def release_names(self, pods: Sequence[str]) -> None:
        """Give these pods their names, one after the other, and those to come at once."""
        self._patch({"annotations": {"retort/name": None}})
        for pod in pods:
            self.annotate(pod, name="")

    def _patch(self, metadata: Mapping[str, object]) -> None:
        replicas = {"Worker": {"template": {"metadata": metadata}}}
        patch = json.dumps({"spec": {"pytorchReplicaSpecs": replicas}})
        self.kubectl.said(
            *("patch", "-n", self.namespace, "pytorchjob", NAME, "--type=merge", "-p", patch)
        )

    def job(self) -> Mapping[str, Any]:
        return self.cluster.registry.get(JOB, self.namespace, NAME)

    def uids(self) -> set[str]:
        """Of its pods."""
        return {one["metadata"]["uid"] for one in self._listed(POD)}

    def told(self) -> str:
        """All that there is to see of it, for a message."""
        pods = [(one["metadata"]["name"], one["status"]) for one in self._listed(POD)]
        texts = [
            file.read_text()[-3000:] for file in self.cluster.logs.glob(f"{self.namespace}_*/*/*")
        ]
        return "\n".join([str(self.job().get("status")), str(pods), *texts])

    def _listed(self, kind: Kind) -> Sequence[dict[str, Any]]:
        return self.cluster.registry.list(kind, Selection(self.namespace)).items

    @staticmethod
    def _ended(job: Mapping[str, Any]) -> str:
        conditions = job.get("status", {}).get("conditions", ())
        held = [one["type"] for one in conditions if one["status"] == "True"]
        return next((word for word in ("Succeeded", "Failed") if word in held), "")
