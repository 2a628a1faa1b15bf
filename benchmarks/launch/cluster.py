"""A job on the local cluster against the same trainer typed here: until its first step, and after a pod was lost."""

import os
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import yaml

from benchmarks.markdown import Section, Target, table
from retort.launch.cluster.cluster import HISTORY, Cluster
from retort.launch.cluster.main import own_image
from retort.launch.cluster.serving.serving import bind
from retort.launch.cluster.workloads import WorkloadOptions
from tools.kubernetes.kubectl import Kubectl

_LATER_S = 10.0
"""Seconds by which the first step may come later on the cluster."""
_LOOK_S = 0.02
_NAME = "training"
_LOST = f"{_NAME}-worker-1"


class _Times(NamedTuple):
    """Seconds of one round.

    Attributes:
        plain: from the start of the trainer by four processes to its first step.
        cluster: from `kubectl apply` of two pods with two processes each to that.
        noticed: from a kill of a pod to the moment when both pods are others and run.
        again: from there to the next step.
    """

    plain: float
    cluster: float
    noticed: float
    again: float


def measure(checkout: Path, rounds: int) -> Section:
    """Let both start in turn, so many times."""
    with tempfile.TemporaryDirectory(dir=checkout / "runs", prefix="launch-") as place:
        taken = [_round(checkout, Path(place) / str(number)) for number in range(rounds)]
    median = _Times(*(statistics.median(one) for one in zip(*taken, strict=True)))
    later = median.cluster - median.plain
    target = Target(
        "first step on the local cluster, after a plain start's",
        f"{later:.1f} s",
        f"under {_LATER_S:.0f} s",
        later < _LATER_S,
    )
    rows = [
        ("`//train --nproc 4`, to its first step", median.plain),
        ("`kubectl apply -k`, 2 pods with 2 processes, to the first step", median.cluster),
        ("a pod is killed, until both pods run anew", median.noticed),
        ("from there to the next step", median.again),
    ]
    head = f"Medians of {rounds} rounds, the sides in turn; the recipe of k8s/base."
    told = table(("what", "s"), [(name, f"{seconds:.1f}") for name, seconds in rows], "lr")
    return Section((target,), f"{head}\n\n{told}")


def _round(checkout: Path, place: Path) -> _Times:
    place.mkdir(parents=True)
    plain = _plain(checkout, place)
    with _cluster(place / "cluster") as cluster:
        kubectl = Kubectl(cluster.kubeconfig)
        metrics = place / "cluster/claims/default/runs" / _NAME / "metrics.jsonl"
        began = time.monotonic()
        kubectl.said("apply", "--kustomize", str(_overlay(checkout, place)))
        _wait(lambda: _steps(metrics) > 0)
        first = time.monotonic() - began
        _wait(lambda: _steps(metrics) > 5)
        before = _running(kubectl)
        struck = time.monotonic()
        kubectl.said("annotate", "pod", _LOST, "retort/kill=now")
        _wait(lambda: len(_running(kubectl) - before) == 2)
        noticed = time.monotonic()
        steps = _steps(metrics)
        _wait(lambda: _steps(metrics) != steps)
        return _Times(plain, first, noticed - struck, time.monotonic() - noticed)


def _plain(checkout: Path, place: Path) -> float:
    (trainer,) = own_image().values()
    recipe = checkout / "k8s/base/recipe.yaml"
    run = place / "plain"
    began = time.monotonic()
    with (place / "log").open("wb") as log:
        process = subprocess.Popen(
            [str(trainer), "--config", str(recipe), "--out", str(run), "--nproc", "4"],
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        _wait(lambda: _steps(run / "metrics.jsonl") > 0 or process.poll() is not None)
        return time.monotonic() - began
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _overlay(checkout: Path, place: Path) -> Path:
    """The overlay `local`, with a checkpoint every five steps."""
    recipe = yaml.safe_load((checkout / "k8s/base/recipe.yaml").read_text("utf-8"))
    folder = place / "overlay"
    folder.mkdir()
    recipe["checkpoints"] = {"every": 5}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe), "utf-8")
    files = {"name": "training-recipe", "behavior": "replace", "files": ["recipe.yaml"]}
    local = os.path.relpath(checkout / "k8s/overlays/local", folder)
    content = {"resources": [local], "configMapGenerator": [files]}
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(content), "utf-8")
    return folder


@contextmanager
def _cluster(directory: Path) -> Iterator[Cluster]:
    options = WorkloadOptions(own_image())
    with Cluster(directory, bind("127.0.0.1", 0), HISTORY, options) as cluster:
        yield cluster


def _running(kubectl: Kubectl) -> set[str]:
    """The identities of pods that run."""
    return {
        pod["metadata"]["uid"]
        for pod in kubectl.json("get", "pods")["items"]
        if pod["status"].get("phase") == "Running" and "deletionTimestamp" not in pod["metadata"]
    }


def _steps(metrics: Path) -> int:
    try:
        return metrics.read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


def _wait(holds: Callable[[], bool]) -> None:
    while not holds():
        time.sleep(_LOOK_S)
