"""The Kubernetes client before the cluster, many at a time, and behind what it has seen."""

import http.client
import itertools
import json
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from kubernetes import client, dynamic

from retort.launch.cluster.cluster import Cluster
from retort.launch.cluster.kinds.table import kind_of
from tests.launch.cluster.running import api_client, core_client, running, watched

HISTORY = 40
CONFIG_MAP = kind_of("v1", "ConfigMap")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running(tmp_path_factory.mktemp("cluster"), HISTORY) as one:
        yield one


@pytest.fixture
def core(cluster: Cluster) -> Any:
    return core_client(cluster.kubeconfig)


@pytest.fixture
def namespace(cluster: Cluster, request: pytest.FixtureRequest) -> str:
    name = request.node.name.replace("_", "-")[:60].strip("-")
    cluster.registry.create(kind_of("v1", "Namespace"), "", {"metadata": {"name": name}})
    return str(name)


def settings(name: str, **data: str) -> client.V1ConfigMap:
    return client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name), data=data)


def test_an_object_is_made_read_changed_and_removed(core: Any, namespace: str) -> None:
    made = core.create_namespaced_config_map(namespace, settings("a", key="1"))
    assert core.read_namespaced_config_map("a", namespace).data == {"key": "1"}
    made.data = {"key": "2"}
    changed = core.replace_namespaced_config_map("a", namespace, made)
    assert int(changed.metadata.resource_version) > int(made.metadata.resource_version)
    with pytest.raises(client.ApiException) as refused:
        core.replace_namespaced_config_map("a", namespace, made)
    assert (refused.value.status, refused.value.reason) == (409, "Conflict")
    core.patch_namespaced_config_map("a", namespace, {"data": {"other": "3"}})
    assert core.read_namespaced_config_map("a", namespace).data == {"key": "2", "other": "3"}
    core.delete_namespaced_config_map("a", namespace)
    with pytest.raises(client.ApiException) as refused:
        core.read_namespaced_config_map("a", namespace)
    assert json.loads(refused.value.body or "")["message"] == 'configmaps "a" not found'


def test_a_job_of_a_custom_kind_is_applied_by_the_server(cluster: Cluster, namespace: str) -> None:
    custom: Any = client.CustomObjectsApi(api_client(cluster.kubeconfig))
    container = {"name": "pytorch", "image": "x:1"}
    worker = {"replicas": 2, "template": {"spec": {"containers": [container]}}}
    job = {
        "apiVersion": "kubeflow.org/v1",
        "kind": "PyTorchJob",
        "metadata": {"name": "job"},
        "spec": {"elasticPolicy": {}, "pytorchReplicaSpecs": {"Worker": worker}},
    }
    at = ("kubeflow.org", "v1", namespace, "pytorchjobs", "job")
    kinds: Any = dynamic
    found = kinds.DynamicClient(custom.api_client).resources
    kind = found.get(api_version="kubeflow.org/v1", kind="PyTorchJob")
    made = kind.server_side_apply(job, namespace=namespace, field_manager="launcher").to_dict()
    elastic = made["spec"]["elasticPolicy"]
    assert (elastic["minReplicas"], elastic["maxReplicas"]) == (2, 2)
    with pytest.raises(client.ApiException) as refused:
        other = {**job, "spec": {"elasticPolicy": {"rdzvBackend": "etcd"}, "nprocPerNode": "2"}}
        kind.server_side_apply(other, namespace=namespace, field_manager="launcher")
    assert "must be specified" in json.loads(refused.value.body or "")["message"]
    status = {"status": {"conditions": [{"type": "Running", "status": "True"}]}}
    shown = custom.patch_namespaced_custom_object_status(*at, status)
    assert shown["status"]["conditions"][0]["type"] == "Running"
    assert shown["metadata"]["generation"] == 1
    custom.delete_namespaced_custom_object(*at)
    assert custom.list_namespaced_custom_object(*at[:4])["items"] == []


def test_fifty_writers_lose_no_update(core: Any, cluster: Cluster, namespace: str) -> None:
    core.create_namespaced_config_map(namespace, settings("count", number="0"))
    all_ready = threading.Barrier(50)
    conflicts: list[int] = []

    def add_one(_: int) -> None:
        own = core_client(cluster.kubeconfig)
        item = own.read_namespaced_config_map("count", namespace)
        all_ready.wait()  # all have read the same, so that but one of them can be right
        while True:
            item.data["number"] = str(int(item.data["number"]) + 1)
            try:
                own.replace_namespaced_config_map("count", namespace, item)
                return
            except client.ApiException as error:
                assert error.status == 409, error
                conflicts.append(1)
            item = own.read_namespaced_config_map("count", namespace)

    with ThreadPoolExecutor(50) as pool:
        list(pool.map(add_one, range(50)))
    assert core.read_namespaced_config_map("count", namespace).data == {"number": "50"}
    assert len(conflicts) >= 49


def test_pages_are_of_one_moment(core: Any, namespace: str) -> None:
    for number in range(5):
        core.create_namespaced_config_map(namespace, settings(f"c{number}"))
    first = core.list_namespaced_config_map(namespace, limit=2)
    assert first.metadata.remaining_item_count == 3
    core.delete_namespaced_config_map("c3", namespace)
    core.create_namespaced_config_map(namespace, settings("c9"))
    names = [one.metadata.name for one in first.items]
    page = first
    while page.metadata._continue:
        token = page.metadata._continue
        page = core.list_namespaced_config_map(namespace, limit=2, _continue=token)
        names += [one.metadata.name for one in page.items]
        assert page.metadata.resource_version == first.metadata.resource_version
    assert names == ["c0", "c1", "c2", "c3", "c4"]
    for number in range(HISTORY + 1):
        core.patch_namespaced_config_map("c0", namespace, {"data": {"n": str(number)}})
    with pytest.raises(client.ApiException) as refused:
        core.list_namespaced_config_map(namespace, limit=2, _continue=first.metadata._continue)
    assert (refused.value.status, json.loads(refused.value.body or "")["reason"]) == (
        410,
        "Expired",
    )


def test_a_watch_goes_on_after_what_was_seen_and_says_when_it_cannot(
    core: Any, namespace: str
) -> None:
    made = core.create_namespaced_config_map(namespace, settings("a"))
    seen = core.list_namespaced_config_map(namespace).metadata.resource_version
    core.patch_namespaced_config_map("a", namespace, {"data": {"n": "1"}})
    core.create_namespaced_config_map(namespace, settings("b"))
    core.delete_namespaced_config_map("a", namespace)
    changes = watched(core.list_namespaced_config_map, namespace, resource_version=seen)
    told = [(kind, one.metadata.name) for kind, one in itertools.islice(changes, 3)]
    assert told == [("MODIFIED", "a"), ("ADDED", "b"), ("DELETED", "a")]
    for number in range(HISTORY + 1):
        core.patch_namespaced_config_map("b", namespace, {"data": {"n": str(number)}})
    old = made.metadata.resource_version
    with pytest.raises(client.ApiException) as forgotten:
        next(watched(core.list_namespaced_config_map, namespace, resource_version=old))
    assert forgotten.value.status == 410
    # As an informer: what is there now, then what comes.
    listed = core.list_namespaced_config_map(namespace)
    assert [one.data for one in listed.items] == [{"n": str(HISTORY)}]
    core.delete_namespaced_config_map("b", namespace)
    since = listed.metadata.resource_version
    kind, one = next(watched(core.list_namespaced_config_map, namespace, resource_version=since))
    assert (kind, one.metadata.name) == ("DELETED", "b")


def test_a_watch_begins_with_what_there_is_and_marks_its_end(
    cluster: Cluster, core: Any, namespace: str
) -> None:
    core.create_namespaced_config_map(namespace, settings("a"))
    query = (
        "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
        "&timeoutSeconds=1"
    )
    path = f"/api/v1/namespaces/{namespace}/configmaps?{query}"
    events = [json.loads(line) for line in asked(cluster, path)[1].splitlines()]
    assert [one["type"] for one in events] == ["ADDED", "BOOKMARK", "BOOKMARK"]
    marks = [one["object"]["metadata"].get("annotations") for one in events[1:]]
    assert marks == [{"k8s.io/initial-events-end": "true"}, None]
    now = str(cluster.registry.store.revision)
    assert events[-1]["object"]["metadata"]["resourceVersion"] == now


def test_an_object_that_is_no_longer_selected_is_gone_for_a_watch(
    cluster: Cluster, namespace: str
) -> None:
    core = core_client(cluster.kubeconfig)
    labelled = {"metadata": {"labels": {"in": "yes"}}}
    core.create_namespaced_config_map(namespace, settings("a"))
    since = core.list_namespaced_config_map(namespace).metadata.resource_version
    core.patch_namespaced_config_map("a", namespace, labelled)
    core.patch_namespaced_config_map("a", namespace, {"data": {"k": "v"}})
    core.patch_namespaced_config_map("a", namespace, {"metadata": {"labels": {"in": "no"}}})
    core.delete_namespaced_config_map("a", namespace)
    changes = watched(
        *(core.list_namespaced_config_map, namespace),
        label_selector="in=yes",
        resource_version=since,
    )
    told = [kind for kind, _ in itertools.islice(changes, 3)]
    assert told == ["ADDED", "MODIFIED", "DELETED"]


def asked(cluster: Cluster, path: str, **headers: str) -> tuple[int, str]:
    """An answer as it comes over the wire; with the cluster's token, unless another is named."""
    place = urlsplit(cluster.url)
    folder: Path = cluster.kubeconfig.parent
    context = ssl.create_default_context(cafile=str(folder / "tls" / "ca.crt"))
    connection = http.client.HTTPSConnection(place.hostname or "", place.port, context=context)
    token = (folder / "token").read_text("utf-8").strip()
    connection.request("GET", path, headers={"authorization": f"Bearer {token}", **headers})
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer.status, body


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer wrong", "Basic YTpi"])
def test_without_the_token_nothing_is_told(cluster: Cluster, authorization: str) -> None:
    for path in ("/api/v1/secrets", "/apis", "/version", "/openapi/v3"):
        status, body = asked(cluster, path, authorization=authorization)
        assert (status, json.loads(body)["reason"]) == (401, "Unauthorized")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/v2/pods", 404),
        ("/apis/apps/v1/pods", 404),
        ("/api/v1/namespaces/default/pods/x/exec", 404),
        ("/api/v1/pods?limit=many", 400),
        ("/api/v1/pods?labelSelector=%3D%3D", 400),
        ("/api/v1/pods?continue=nothing", 400),
        ("/api/v1/pods?resourceVersion=999999999&resourceVersionMatch=Exact", 504),
    ],
)
def test_what_makes_no_sense_is_refused_as_a_status(
    cluster: Cluster, path: str, status: int
) -> None:
    found, body = asked(cluster, path)
    refusal = json.loads(body)
    assert (found, refusal["kind"], refusal["code"]) == (status, "Status", status)
