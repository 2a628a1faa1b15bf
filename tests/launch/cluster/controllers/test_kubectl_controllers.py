"""What people see of controllers through kubectl, with the test in the place of the node."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from retort.launch.cluster.cluster import Cluster
from retort.launch.cluster.controllers.controllers import Controllers
from retort.launch.cluster.kinds.table import POD
from tests.launch.cluster.controllers.objects import ended
from tests.launch.cluster.controllers.objects import running as runs
from tests.launch.cluster.controllers.playing import CLAIM, NODE, PYTORCHJOB, Play
from tests.launch.cluster.kubectl_cases import a_kubectl, namespace_of
from tests.launch.cluster.running import Kubectl, running

CHECKOUT = Path(__file__).resolve().parents[4]
K8S = CHECKOUT / "k8s"
RENDERED = CHECKOUT / "tests" / "launch" / "golden"
RUNS = """
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: runs}
spec: {accessModes: [ReadWriteMany], resources: {requests: {storage: 1Gi}}}
"""
kubectl = a_kubectl()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    place = tmp_path_factory.mktemp("cluster")
    with (
        running(place / "here") as one,
        Controllers(one.registry, NODE, place / "here" / "claims"),
    ):
        yield one


@pytest.fixture
def play(cluster: Cluster, kubectl: Kubectl) -> Play:
    return Play(cluster.registry, namespace_of(kubectl))


def test_an_overlay_is_applied_and_its_job_completes(kubectl: Kubectl, play: Play) -> None:
    kubectl.said("apply", "-k", str(K8S / "overlays" / "local"))
    kubectl.said("wait", "--for=create", "pod/training-worker-1", "--timeout=-1s")
    kubectl.said("wait", "--for=condition=PodScheduled", "pod", "--all", "--timeout=-1s")
    lines = kubectl.said("get", "pods", "-o", "wide").splitlines()
    assert [re.split(r"\s+", line)[:3] for line in lines[1:]] == [
        [f"training-worker-{number}", "0/1", "Pending"] for number in range(2)
    ]
    assert kubectl.json("get", "pvc", "runs")["status"]["phase"] == "Bound"
    for name in play.placed(2):
        play.be(name, runs())
    kubectl.said("wait", "--for=condition=Running", "pytorchjob/training", "--timeout=-1s")
    assert "Running" in kubectl.said("get", "pytorchjobs")
    arguments = kubectl.json("get", "pod", "training-worker-0")["spec"]["containers"][0]
    names = {one["name"]: one.get("value") for one in arguments["env"]}
    assert (names["PET_NNODES"], names["PET_RDZV_ENDPOINT"]) == ("2:2", "training-worker-0:23456")
    service = kubectl.json("get", "service", "training-worker-0")["spec"]
    assert (service["clusterIP"], service["ports"][0]["port"]) == ("None", 23456)
    for name in play.all(POD):
        play.be(name, ended(0))
    kubectl.said("wait", "--for=condition=Succeeded", "pytorchjob/training", "--timeout=-1s")
    described = kubectl.said("describe", "pytorchjob", "training")
    assert "pytorchjob-controller" in described
    assert "Created pod: training-worker-0" in described
    assert "PyTorchJobSucceeded" in described
    kubectl.said("delete", "-k", str(K8S / "overlays" / "local"))
    play.wait(POD, lambda found: not found)


def test_a_pod_that_finds_no_room_is_described_with_the_schedulers_words(
    kubectl: Kubectl, play: Play
) -> None:
    rendered = kubectl.said("kustomize", str(K8S / "overlays" / "gpu"))
    asked = re.sub(r"nvidia\.com/gpu: .*", 'nvidia.com/gpu: "8"', rendered)
    assert asked != rendered
    kubectl.said("apply", "-f", "-", stdin=asked)
    play.wait_event("training-worker-0", "FailedScheduling")
    play.wait(CLAIM, lambda found: found["runs"]["status"]["phase"] == "Bound")
    play.wait_for(POD, "training-worker-0", lambda pod: "Insufficient" in str(pod["status"]))
    described = kubectl.said("describe", "pod", "training-worker-0")
    assert "0/1 nodes are available: 1 Insufficient nvidia.com/gpu." in described
    assert re.search(r"Warning\s+FailedScheduling\s+\S+\s+default-scheduler", described)
    kubectl.said("delete", "pytorchjob", "training")
    play.wait(PYTORCHJOB, lambda found: not found)


def test_a_rendered_train_job_starts_anew_after_a_loss_and_completes(
    kubectl: Kubectl, play: Play
) -> None:
    kubectl.said("apply", "-f", "-", stdin=RUNS)
    kubectl.said("apply", "-f", str(RENDERED / "plain.v2.yaml"))
    (name,) = play.placed(1)
    variables = kubectl.json("get", "pod", name)["spec"]["containers"][0]["env"]
    told = {one["name"]: one.get("value") for one in variables}
    assert (told["PET_NNODES"], told["PET_MASTER_ADDR"]) == ("1", "smoke-node-0-0.smoke")
    play.be(name, ended(143, "node"))
    again = play.wait(POD, lambda found: len(found) == 1 and name not in found)
    assert "Restarts" in kubectl.said("describe", "jobset", "smoke")
    play.placed(1)
    for other in again:
        play.be(other, ended(0, "node"))
    kubectl.said("wait", "--for=condition=Complete", "trainjob/smoke", "--timeout=-1s")
    assert re.search(r"smoke\s+Complete ", kubectl.said("get", "trainjobs"))
    assert re.search(r"smoke\s+Completed\s+1\s+True", kubectl.said("get", "jobsets"))
    assert re.search(r"smoke-node-0\s+Complete\s+1/1", kubectl.said("get", "jobs"))
    kubectl.said("delete", "trainjob", "smoke")
    play.wait(POD, lambda found: not found)
