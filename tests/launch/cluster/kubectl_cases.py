"""What kubectl is tried with: objects, and a cluster with a namespace for each test."""

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from retort.launch.cluster.cluster import Cluster
from retort.launch.cluster.kinds.table import NAMESPACE
from tests.launch.cluster.running import Kubectl, running

APISERVER = "RETORT_APISERVER"
"""The variable that names the kubeconfig of an API server, such as one of Kubernetes itself."""
POD_YAML: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "p", "labels": {"app": "web"}},
    "spec": {"containers": [{"name": "c", "image": "busybox:1"}]},
}
WEB: list[dict[str, Any]] = [
    {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "labels": {"app": "web"}},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {
                    "containers": [
                        {
                            "name": "web",
                            "image": "nginx:1",
                            "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
                            "ports": [{"containerPort": 80}],
                        },
                        {"name": "side", "image": "side:1"},
                    ]
                },
            },
        },
    },
    {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
    },
    {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "settings"},
        "data": {"a": "1", "b": "2"},
    },
]


def a_cluster() -> Callable[..., Iterator[Cluster]]:
    """A fixture of a test file: a cluster in this process, while its tests run."""

    @pytest.fixture(scope="module")
    def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
        with running(tmp_path_factory.mktemp("cluster") / "here") as one:
            yield one

    return cluster


def a_kubectl(*, elsewhere: bool = False) -> Callable[..., Iterator[Kubectl]]:
    """A fixture of a test file that has a cluster: kubectl in a namespace of the test's own.

    Args:
        elsewhere: the tests ask for nothing but a server, and so hold for that of RETORT_APISERVER, too.
    """

    @pytest.fixture(params=["here", APISERVER] if elsewhere else ["here"])
    def kubectl(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Kubectl]:
        name = re.sub("[^a-z0-9]+", "-", request.node.name.lower())[-60:].strip("-")
        if request.param == "here":
            cluster: Cluster = request.getfixturevalue("cluster")
            cluster.registry.create(NAMESPACE, "", {"metadata": {"name": name}})
            yield _within(cluster.kubeconfig, name, tmp_path)
            return
        given = os.environ.get(APISERVER)
        if not given:
            pytest.skip(f"{APISERVER} names no kubeconfig of an API server")
        within = _within(Path(given), name, tmp_path)
        within.said("create", "namespace", name)
        yield within
        within.said("delete", "namespace", name, "--wait=false")

    return kubectl


def _within(kubeconfig: Path, namespace: str, place: Path) -> Kubectl:
    """kubectl by a kubeconfig, in a namespace."""
    whole = ("config", "view", "--raw", "--flatten", "--minify")
    config = yaml.safe_load(Kubectl(kubeconfig, place).said(*whole))
    config["contexts"][0]["context"]["namespace"] = namespace
    file = place / "kubeconfig"
    file.write_text(yaml.safe_dump(config), "utf-8")
    return Kubectl(file, place)


def namespace_of(kubectl: Kubectl) -> str:
    """Of the test."""
    config = yaml.safe_load((kubectl.place / "kubeconfig").read_text("utf-8"))
    return str(config["contexts"][0]["context"]["namespace"])


def text_of(items: list[dict[str, Any]]) -> str:
    """Objects as a file of YAML."""
    return yaml.safe_dump_all(items)


def changed(**spec: Any) -> str:
    """The file of WEB, with another Deployment."""
    web = json.loads(json.dumps(WEB))
    web[0]["spec"] |= spec
    return text_of(web)
