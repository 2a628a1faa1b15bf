"""Clusters with a node, and pods for it, whose image is a shell or Python of this machine."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from retort.launch.cluster.cluster import HISTORY, Cluster
from retort.launch.cluster.kinds.table import EVENT, POD
from retort.launch.cluster.logs.logs import log_file
from retort.launch.cluster.node.network.network import IsolatedNetwork, NetworkError
from retort.launch.cluster.serving.serving import bind
from retort.launch.cluster.workloads import WorkloadOptions

SHELL, PYTHON = "local/shell:1", "local/python:1"
IMAGES = {SHELL: Path("/bin/sh"), PYTHON: Path(sys.executable)}
Object = dict[str, Any]


@contextmanager
def acting(directory: Path, **options: Any) -> Iterator[Cluster]:
    """A cluster with controllers and a node."""
    workloads = WorkloadOptions(options.pop("images", IMAGES), **options)
    with Cluster(directory, bind("127.0.0.1", 0), HISTORY, workloads) as cluster:
        yield cluster


def need_namespaces() -> None:
    """Skip a test where this user may not make namespaces."""
    try:
        IsolatedNetwork().close()
    except NetworkError as error:
        pytest.skip(str(error))


def pod(name: str, script: str, image: str = SHELL, **spec: Any) -> Object:
    """A pod with one container, which runs a script and is not started again."""
    container = {"name": "main", "image": image, "args": ["-c", script]}
    container |= spec.pop("container", {})
    metadata = spec.pop("metadata", {})
    return {
        "metadata": {"name": name, **metadata},
        "spec": {"restartPolicy": "Never", "containers": [container], **spec},
    }


def create(cluster: Cluster, *pods: Object) -> None:
    for one in pods:
        cluster.registry.create(POD, "default", one)


def until(cluster: Cluster, name: str, holds: Callable[[Object], bool]) -> Object:
    """A pod as soon as something holds of it."""
    listing = cluster.registry.list(POD)
    for item in listing.items:
        if item["metadata"]["name"] == name and holds(item):
            return item
    with cluster.registry.watch(POD, since=listing.revision) as watch:
        for event in watch:
            if event.item["metadata"]["name"] != name:
                continue
            if event.type != "DELETED" and holds(event.item):
                return event.item
    raise AssertionError("a watch does not end by itself")


def until_gone(cluster: Cluster, name: str) -> None:
    """Wait until there is no such pod."""
    with cluster.registry.watch(POD) as watch:
        if cluster.registry.find(POD, "default", name) is None:
            return
        for event in watch:
            if event.type == "DELETED" and event.item["metadata"]["name"] == name:
                return


def phase(wanted: str) -> Callable[[Object], bool]:
    return lambda item: bool(item["status"].get("phase") == wanted)


def ended(item: Object) -> bool:
    return item["status"].get("phase") in ("Succeeded", "Failed")


def container(item: Object, number: int = 0) -> Object:
    """The status of a container."""
    found: Object = item["status"]["containerStatuses"][number]
    return found


def restarts(item: Object) -> int:
    """How often its container was started again."""
    statuses = item["status"].get("containerStatuses") or [{"restartCount": 0}]
    return int(statuses[0]["restartCount"])


def last(item: Object) -> Object:
    """How its container has ended."""
    state: Object = container(item)["state"]["terminated"]
    return state


def waits(item: Object) -> str:
    """The reason for which its container waits."""
    found = item["status"].get("containerStatuses") or [{}]
    reason = (found[0].get("state") or {}).get("waiting", {}).get("reason", "")
    return str(reason)


def log(cluster: Cluster, item: Object, restart: int = 0, name: str = "main") -> str:
    """What its container has said, without times."""
    text = log_file(cluster.logs, item, name, restart).read_text()
    return "".join(
        f"{line.split(' ', 3)[3]}\n" for line in text.splitlines() if line.count(" ") >= 3
    )


def says(cluster: Cluster, item: Object, text: str, restart: int = 0) -> bool:
    try:
        return text in log_file(cluster.logs, item, "main", restart).read_text()
    except FileNotFoundError:  # not yet, or no longer
        return False


def annotate(cluster: Cluster, name: str, **notes: str) -> None:
    """Annotations `retort/NAME`; an empty text takes one away."""

    def changed(item: Object) -> Object:
        there = item["metadata"].setdefault("annotations", {})
        for key, value in notes.items():
            if value:
                there[f"retort/{key}"] = value
            else:
                there.pop(f"retort/{key}", None)
        return item

    cluster.registry.modify(POD, "default", name, changed)


def a_cluster() -> Any:
    """A fixture of a test file: a cluster with namespaces."""

    @pytest.fixture
    def cluster(tmp_path: Path) -> Iterator[Cluster]:
        need_namespaces()
        with acting(tmp_path / "cluster") as found:
            yield found

    return cluster


def ran(cluster: Cluster, item: Object) -> Object:
    """A pod that is made and has ended."""
    create(cluster, item)
    return until(cluster, item["metadata"]["name"], ended)


def here(cluster: Cluster, item: Object) -> Object:
    """A pod whose container has begun to say something."""
    create(cluster, item)
    name = item["metadata"]["name"]
    found = until(cluster, name, lambda it: it["status"].get("phase") == "Running")
    while not says(cluster, found, "here"):
        os.sched_yield()
    return found


def events(cluster: Cluster, name: str) -> dict[str, str]:
    """Reasons and messages of what has happened to a pod."""
    return {
        item["reason"]: item["message"]
        for item in cluster.registry.list(EVENT).items
        if item["involvedObject"]["name"] == name
    }


def processes(word: str) -> list[int]:
    """Shells that run with a word in their script."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and word.encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return [number for number in found if number != os.getpid()]
