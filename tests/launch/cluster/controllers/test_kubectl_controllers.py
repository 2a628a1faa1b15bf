"""What people see of controllers through kubectl, with the test in the place of the node."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from retort.launch.cluster.cluster import Cluster
from retort.launch.cluster.controllers.controllers import Controllers
from retort.launch.cluster.kinds.errors import JSONObject
from retort.launch.cluster.kinds.table import POD
from tests.launch.cluster.controllers.objects import ended
from tests.launch.cluster.controllers.objects import running as runs
from tests.launch.cluster.controllers.playing import CLAIM, NODE, PYTORCHJOB, Play
from tests.launch.cluster.kubectl_cases import WEB, a_kubectl, changed, namespace_of, text_of
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


def serve(play: Play, number: int) -> None:
    """Have pods serve and others end, until so many serve and there are no others."""
    while True:
        found = play.wait(
            POD, lambda found: len(found) != number or any(map(_waits, found.values()))
        )
        play.reap()
        for count, (name, pod) in enumerate(found.items()):
            if _waits(pod) and "deletionTimestamp" not in pod["metadata"]:
                play.be(name, {**runs(container="web"), "podIP": f"10.0.0.{count + 1}"})
        found = play.all(POD)
        if len(found) == number and not any(map(_waits, found.values())):
            return


def _waits(pod: JSONObject) -> bool:
    return "podIP" not in pod["status"] or "deletionTimestamp" in pod["metadata"]


def test_a_deployment_is_rolled_out_mended_and_taken_back(kubectl: Kubectl, play: Play) -> None:
    kubectl.said("apply", "-f", "-", stdin=text_of(WEB))
    with kubectl.started("rollout", "status", "deployment/web") as status:
        serve(play, 2)
        assert 'deployment "web" successfully rolled out' in status.communicate()[0]
        assert status.returncode == 0
    sets = kubectl.said("get", "rs").splitlines()
    assert re.fullmatch(r"NAME\s+DESIRED\s+CURRENT\s+READY\s+AGE", sets[0].strip())
    assert re.match(r"web-[a-z0-9]{10}\s+2\s+2\s+2\s", sets[1])
    assert re.search(r"web\s+2/2\s+2\s+2\s", kubectl.said("get", "deployments"))
    address = kubectl.json("get", "service", "web")["spec"]["clusterIP"]
    assert address.startswith("10.96.")
    assert "10.0.0.1:80" in kubectl.said("get", "endpoints", "web")

    lost = sorted(play.all(POD))[0]
    kubectl.said("delete", "pod", lost, "--wait=false")
    play.gone(lost)
    play.wait(POD, lambda found: len(found) == 2 and lost not in found)
    serve(play, 2)
    kubectl.said("wait", "--for=condition=Available", "deployment/web", "--timeout=-1s")

    kubectl.said("apply", "-f", "-", stdin=changed(replicas=3))
    kubectl.said("set", "image", "deployment/web", "web=nginx:2")
    with kubectl.started("rollout", "status", "deployment/web") as status:
        while status.poll() is None and "nginx:1" in str(play.all(POD)):
            serve(play, 3)
        assert "successfully rolled out" in status.communicate()[0]
    assert "1" in kubectl.said("rollout", "history", "deployment/web")
    kubectl.said("rollout", "undo", "deployment/web")
    play.wait(POD, lambda found: "nginx:1" in str(found))
    described = kubectl.said("describe", "deployment", "web")
    assert re.search(r"Normal\s+ScalingReplicaSet\s+\S+\s+deployment-controller", described)
    assert "NewReplicaSet:" in described
    kubectl.said("delete", "deployment", "web")
