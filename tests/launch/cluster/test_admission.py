"""What is completed and refused before it is kept: PyTorchJob as its operator does it."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from retort.launch.cluster.kinds.errors import ApiError, JSONObject
from retort.launch.cluster.kinds.table import NAMESPACE, POD, kind_of
from retort.launch.cluster.objects.registry import Registry
from retort.launch.cluster.objects.writing import Writing
from retort.launch.cluster.store.store import Store

PYTORCHJOB = kind_of("kubeflow.org/v1", "PyTorchJob")
WEBHOOK = (
    'admission webhook "validator.pytorchjob.training-operator.kubeflow.org" denied the request: '
)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    store = Store(tmp_path / "objects", 100)
    found = Registry(store)
    found.create(NAMESPACE, "", {"metadata": {"name": "default"}})
    yield found
    store.close()


def replica(number: int | None = None, **container: Any) -> JSONObject:
    one = {"name": "pytorch", "image": "x:1", **container}
    template = {"spec": {"containers": [one]}}
    return {"template": template, **({} if number is None else {"replicas": number})}


def job(name: str = "job", **spec: Any) -> JSONObject:
    return {
        "metadata": {"name": name},
        "spec": {"pytorchReplicaSpecs": {"Worker": replica(2)}, **spec},
    }


def made(registry: Registry, item: JSONObject) -> Any:
    return registry.create(PYTORCHJOB, "default", item)["spec"]


@pytest.mark.parametrize(
    ("given", "least", "most"),
    [
        ({}, 2, 2),
        ({"minReplicas": 1}, 1, 1),
        ({"maxReplicas": 3}, 3, 3),
        ({"minReplicas": 1, "maxReplicas": 4}, 1, 4),
    ],
)
def test_an_elastic_policy_is_completed(
    registry: Registry, given: JSONObject, least: int, most: int
) -> None:
    elastic = made(registry, job(elasticPolicy=given))["elasticPolicy"]
    assert (elastic["minReplicas"], elastic["maxReplicas"]) == (least, most)


def test_what_is_not_said_is_completed(registry: Registry) -> None:
    spec = made(registry, job(pytorchReplicaSpecs={"Worker": replica()}))
    worker = spec["pytorchReplicaSpecs"]["Worker"]
    assert (worker["replicas"], worker["restartPolicy"]) == (1, "OnFailure")
    assert (spec["nprocPerNode"], spec["runPolicy"]) == ("auto", {"cleanPodPolicy": "None"})
    other = made(registry, job("other", elasticPolicy={"nProcPerNode": 2}))
    assert "nprocPerNode" not in other


REFUSED: list[tuple[JSONObject, str]] = [
    (job("1job"), "metadata.name: Invalid value"),
    (job("a" * 64), "must be no more than 63 characters"),
    (job(pytorchReplicaSpecs={}), "spec.pytorchReplicaSpecs: Required value"),
    (job(pytorchReplicaSpecs={"Worker": replica(1, name="other")}), "name pytorch"),
    (
        job(pytorchReplicaSpecs={"Worker": replica(1, image="")}),
        "containers[0].image: Required value",
    ),
    (job(pytorchReplicaSpecs={"Master": replica(2)}), "spec.pytorchReplicaSpecs[Master].replicas"),
    (job(pytorchReplicaSpecs={"Worker": replica(0)}), "spec.pytorchReplicaSpecs[Worker].replicas"),
    (job(pytorchReplicaSpecs={"Chief": replica(1)}), 'Unsupported value: "Chief"'),
    (job(pytorchReplicaSpecs={"Master": replica(1)}, elasticPolicy={}), "[Worker]: Required value"),
    (job(nprocPerNode="2", elasticPolicy={"nProcPerNode": 2}), "nProcPerNode: Forbidden"),
    (
        job(runPolicy={"managedBy": "example.com/other"}),
        "spec.runPolicy.managedBy: Unsupported value",
    ),
]


@pytest.mark.parametrize(("item", "words"), REFUSED)
def test_what_the_webhook_refuses_is_refused(
    registry: Registry, item: JSONObject, words: str
) -> None:
    with pytest.raises(ApiError) as refused:
        made(registry, copy.deepcopy(item))
    assert (refused.value.code, refused.value.reason) == (403, "Forbidden")
    assert refused.value.message.startswith(WEBHOOK)
    assert words in refused.value.message
    assert registry.list(PYTORCHJOB).items == []


def test_what_the_webhook_takes_is_taken(registry: Registry) -> None:
    master = job("both", pytorchReplicaSpecs={"Master": replica(1), "Worker": replica(2)})
    queued = job("queued", runPolicy={"managedBy": "kueue.x-k8s.io/multikueue", "suspend": True})
    for item in (job(), master, queued):
        made(registry, item)


def test_the_queue_and_the_manager_stay(registry: Registry) -> None:
    policy = {"schedulingPolicy": {"queue": "one"}, "suspend": True}
    made(registry, job(runPolicy=policy))

    def set_to(policy: JSONObject) -> JSONObject:
        def change(item: JSONObject) -> JSONObject:
            item["spec"]["runPolicy"] |= policy
            return item

        return registry.modify(PYTORCHJOB, "default", "job", change)

    assert set_to({"suspend": False})["metadata"]["generation"] == 2
    for changed, words in (
        ({"schedulingPolicy": {"queue": "two"}}, "queue is immutable"),
        ({"managedBy": "kueue.x-k8s.io/multikueue"}, "spec.runPolicy.managedBy"),
    ):
        with pytest.raises(ApiError, match=words) as refused:
            set_to(changed)
        assert refused.value.code == 422


def test_admission_is_a_list_of_functions(tmp_path: Path) -> None:
    store = Store(tmp_path / "other", 10)
    seen = []

    def note(write: Any, item: JSONObject) -> None:
        seen.append((write.kind.kind, write.before is None))
        item["metadata"].setdefault("labels", {})["seen"] = "yes"

    registry = Registry(store, [note])
    kept = registry.create(NAMESPACE, "", {"metadata": {"name": "n"}})
    assert kept["metadata"]["labels"] == {"seen": "yes"}
    registry.update(NAMESPACE, "", "n", kept)
    assert seen == [("Namespace", True), ("Namespace", False)]
    store.close()


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("x", "Always"),
        ("x:latest", "Always"),
        ("x:1", "IfNotPresent"),
        ("h:80/x", "Always"),
        ("x@sha256:1", "IfNotPresent"),
    ],
)
def test_images_are_pulled_always_only_where_their_tag_moves(
    registry: Registry, image: str, policy: str
) -> None:
    item = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": image}]}}
    (container,) = registry.create(POD, "default", item, Writing())["spec"]["containers"]
    assert container["imagePullPolicy"] == policy
