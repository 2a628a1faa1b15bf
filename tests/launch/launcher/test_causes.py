"""`watch`: why a job does not run, in a line of cause and mend."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from retort.launch.cluster.cluster import Cluster
from retort.launch.cluster.kinds.table import POD
from retort.launch.cluster.objects.deletion import delete
from retort.launch.launcher.seen.cause import Seen
from retort.launch.launcher.seen.causes import causes
from retort.launch.launcher.seen.jobs import job_of
from retort.launch.launcher.seen.pods import Pod
from tests.launch.cluster.running import running
from tests.launch.launcher.playing import CLAIM, LAUNCHER, PYTORCHJOB, QUEUE, Played
from tests.processes.forks import fork_server_for

NUMBERS = itertools.count()
forks = fork_server_for(LAUNCHER, "retort.launch.rules.check")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running(tmp_path_factory.mktemp("cluster")) as one:
        yield one


@pytest.fixture
def played(cluster: Cluster, tmp_path: Path) -> Played:
    return Played(cluster, f"team-{next(NUMBERS)}", tmp_path)


def gpu(played: Played, pods: list[str]) -> None:
    for pod in pods:
        played.unschedulable(
            pod,
            "0/3 nodes are available: 3 Insufficient nvidia.com/gpu. preemption: 0/3 nodes are "
            "available: 3 No preemption victims found for incoming pod.",
        )


def unbound(played: Played, pods: list[str]) -> None:
    played.status(CLAIM, "runs", phase="Pending")
    played.event(CLAIM, "runs", "ProvisioningFailed", 'storageclass.storage.k8s.io "x" not found')
    message = "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims. not found"
    for pod in pods:
        played.unschedulable(pod, message)


def unpullable(played: Played, pods: list[str]) -> None:
    message = (
        'failed to pull and unpack image "registry.example/x": failed to resolve reference: '
        "registry.example/x: not found"
    )
    played.waits(pods[0], "ErrImagePull", message)
    played.waits(
        pods[0], "ImagePullBackOff", f'Back-off pulling image "x": ErrImagePull: {message}'
    )


def private(played: Played, pods: list[str]) -> None:
    message = "failed to authorize: failed to fetch anonymous token: unexpected status: 401"
    played.waits(pods[0], "ErrImagePull", message)


def no_secret(played: Played, pods: list[str]) -> None:
    played.waits(pods[0], "CreateContainerConfigError", 'secret "tracking" not found')


def lost(played: Played, pods: list[str]) -> None:
    played.runs(*pods)
    status = {"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown"}
    played.status(POD, pods[0], conditions=[status])


def gang(played: Played, pods: list[str]) -> None:
    played.runs(pods[0])
    played.unschedulable(pods[1], "0/1 nodes are available: 1 Insufficient cpu.")


def attached(played: Played, pods: list[str]) -> None:
    message = 'Multi-Attach error for volume "pvc-1" Volume is already used by pod(s) other'
    played.event(POD, pods[0], "FailedAttachVolume", message)


def spot(played: Played, pods: list[str]) -> None:
    message = "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector."
    played.unschedulable(pods[0], message)


def tainted(played: Played, pods: list[str]) -> None:
    message = "0/2 nodes are available: 2 node(s) had untolerated taint {dedicated: others}."
    played.unschedulable(pods[0], message)


def initial(played: Played, pods: list[str]) -> None:
    message = 'Back-off pulling image "alpine:3.10"'
    played.waits(pods[0], "ImagePullBackOff", message, first="init-pytorch")


@pytest.mark.parametrize(
    ("happens", "what", "mend"),
    [
        (gpu, "no machine has", "fewer gpus"),
        (unbound, "persistentvolumeclaim/runs: is not bound to a volume", "runs.storage_class"),
        (unpullable, "cannot be pulled", "push it (//docker:training.push)"),
        (private, "cannot be pulled", "imagePullSecret"),
        (no_secret, 'pytorch cannot be started: secret "tracking" not found', "make the secret"),
        (lost, "its machine machine-1 does not answer", "--force"),
        (gang, "1 of 2 pods run", "give the job a queue"),
        (attached, "its volume cannot be mounted", "ReadWriteMany"),
        (spot, "no machine is of the kind that it asks", "node"),
        (tainted, "machines keep it off by a taint", "toleration"),
        (initial, "cannot be pulled", "Worker with an elasticPolicy"),
    ],
)
def test_what_keeps_pods_from_running_is_a_line_of_cause_and_mend(
    played: Played, happens: Callable[[Played, list[str]], None], what: str, mend: str
) -> None:
    job = played.launch()
    pods = played.make_pods(job)
    with played.started("watch", "news") as watching:
        watching.until("pytorchjob/news  Created")
        happens(played, pods)
        line = watching.until(what)
        assert mend in line
        # Told once, though both pods have it, and the kubelet words it in turns.
        played.event(POD, pods[0], "Pulled", "something else")
        played.condition("news", "Failed", "PyTorchJob news is failed.")
        assert watching.end() in (1, 2)
        said = [one for one in watching.lines if what in one and "has failed" not in one]
        assert len(said) == 1, watching.lines


@pytest.mark.parametrize(
    ("message", "what", "mend"),
    [
        (
            'Error creating: pods "news-worker-0" is forbidden: exceeded quota: team, requested: '
            "requests.nvidia.com/gpu=8, used: requests.nvidia.com/gpu=8, limited: "
            "requests.nvidia.com/gpu=8",
            "no room in the namespace's quota for its pods",
            "ResourceQuota",
        ),
        (
            'Error creating: pods "news-worker-0" is forbidden: violates PodSecurity '
            '"restricted:latest": allowPrivilegeEscalation != false',
            "its pods are refused by policy",
            "who keeps the policy",
        ),
        (
            'Error creating: admission webhook "validation.gatekeeper.sh" denied the request: no',
            "its pods are refused by policy",
            "who keeps the policy",
        ),
    ],
)
def test_pods_that_cannot_be_made_are_told_of_from_events(
    played: Played, message: str, what: str, mend: str
) -> None:
    played.launch()
    with played.started("watch", "news") as watching:
        watching.until("pytorchjob/news  Created")
        played.event(PYTORCHJOB, "news", "FailedCreatePod", message)
        assert mend in watching.until(what)


def test_a_queue_that_is_not_there_is_told(played: Played) -> None:
    queue = {"metadata": {"name": "gold"}, "spec": {"clusterQueue": "all"}}
    played.registry.create(QUEUE, played.namespace, queue)
    played.launch(queue="gold")
    with played.started("watch", "news") as watching:
        # It is there, and nobody serves it.
        assert "have Kueue installed" in watching.until("the cluster has no Kueue")
        delete(played.registry, QUEUE, played.namespace, "gold")
        assert "kubectl get localqueues" in watching.until("the queue gold, which is not there")


def test_an_image_that_is_being_fetched_is_told(played: Played) -> None:
    job = played.launch(nodes=1)
    (pod,) = played.make_pods(job)
    with played.started("watch", "news") as watching:
        watching.until(f"{pod}  Pending")
        played.event(POD, pod, "Pulling", f'Pulling image "{job_image(job)}"')
        watching.until(f"{pod}  Pending, fetching {job_image(job)}")
        played.event(POD, pod, "Pulled", f'Successfully pulled image "{job_image(job)}" in 2m3s')
        played.runs(pod)
        watching.until(f"{pod}  Running on machine-1")


def test_a_machine_that_is_being_added_is_no_fault(played: Played) -> None:
    job = played.launch(nodes=1)
    (pod,) = played.make_pods(job)
    with played.started("watch", "news") as watching:
        watching.until(f"{pod}  Pending")
        played.event(POD, pod, "TriggeredScaleUp", "pod triggered scale-up: [{gpus 0->1 (max: 4)}]")
        gpu(played, [pod])
        watching.until(f"{pod}  Pending, a machine is being added")
        played.event(POD, pod, "NotTriggerScaleUp", "pod didn't trigger scale-up: 1 max node group")
        watching.until("no machine has")


def job_image(job: dict[str, Any]) -> str:
    """The image of a job's pods."""
    worker = job["spec"]["pytorchReplicaSpecs"]["Worker"]
    return str(worker["template"]["spec"]["containers"][0]["image"])


@pytest.mark.parametrize(
    ("message", "mend"),
    [
        ("LocalQueue gold doesn't exist", "give another queue"),
        (
            "couldn't assign flavors to pod set worker: insufficient quota for nvidia.com/gpu in flavor "
            "a100, previously considered podsets requests (0) + current podset request (16) > maximum "
            "capacity (8)",
            "fewer nodes or GPUs",
        ),
        (
            "couldn't assign flavors to pod set worker: insufficient unused quota for nvidia.com/gpu in "
            "flavor a100, 8 more needed",
            "kubectl get workloads",
        ),
    ],
)
def test_what_a_queue_says_is_told(message: str, mend: str) -> None:
    """In the words of Kueue, which the cluster of these tests does not have."""
    metadata = {"name": "news", "uid": "1", "labels": {"kueue.x-k8s.io/queue-name": "gold"}}
    job = {"kind": "PyTorchJob", "metadata": metadata, "spec": {"runPolicy": {"suspend": True}}}
    condition = {
        "type": "QuotaReserved",
        "status": "False",
        "reason": "Pending",
        "message": message,
    }
    own = {"name": "pytorchjob-news-1", "ownerReferences": [{"uid": "1"}]}
    other = {"name": "pytorchjob-other", "ownerReferences": [{"uid": "2"}]}
    workloads = [{"metadata": one, "status": {"conditions": [condition]}} for one in (own, other)]
    (cause,) = causes(Seen(job_of(job), workloads=workloads, queue_is_there=True))
    assert message in cause.what
    assert mend in cause.mend


def test_a_gang_that_was_not_let_in_is_told_until_it_has_pods() -> None:
    """In the words of Volcano, whose PodGroup has the job's name."""
    metadata = {"name": "news", "uid": "1"}
    job = {"kind": "PyTorchJob", "metadata": metadata, "spec": {}}
    about = {"kind": "PodGroup", "name": "news"}
    said = "resource in cluster is overused: Insufficient nvidia.com/gpu"
    event = {"involvedObject": about, "reason": "Unschedulable", "message": said}
    (cause,) = causes(Seen(job_of(job), events=[event]))
    assert said in cause.what
    assert "when others end" in cause.mend
    pod = Pod({"metadata": {"name": "news-worker-0", "uid": "2"}, "spec": {}, "status": {}})
    assert not causes(Seen(job_of(job), pods=[pod], events=[event]))
