"""Jobs, JobSets and TrainJobs at work over a registry, with the test in the place of the node."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from retort.launch.cluster.controllers.deployments.plan import DEPLOYMENT
from retort.launch.cluster.controllers.jobs.making import JOB
from retort.launch.cluster.controllers.jobsets.building import RUNTIME, TRAINJOB
from retort.launch.cluster.controllers.jobsets.jobset import JOBSET
from retort.launch.cluster.controllers.services.controller import ENDPOINTS
from retort.launch.cluster.kinds.errors import JSONObject
from retort.launch.cluster.kinds.table import POD
from retort.launch.cluster.objects.deletion import Deletion, delete
from tests.launch.cluster.controllers.objects import ended, running
from tests.launch.cluster.controllers.playing import SERVICE, Objects, Play, playing


@pytest.fixture
def play(tmp_path: Path) -> Iterator[Play]:
    with playing(tmp_path) as one:
        yield one


def a_job(**spec: object) -> JSONObject:
    container = {"name": "node", "image": "x:1"}
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    return {"metadata": {"name": "job"}, "spec": {"template": template, **spec}}


FAIL_ON_1 = {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [1]}}


def a_runtime() -> JSONObject:
    job = a_job(backoffLimit=0, podFailurePolicy={"rules": [FAIL_ON_1]})["spec"]
    labels = {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}
    node = {"name": "node", "template": {"metadata": {"labels": labels}, "spec": job}}
    rule = {"name": "final", "action": "FailJobSet", "onJobFailureReasons": ["PodFailurePolicy"]}
    policy = {"maxRestarts": 5, "rules": [rule]}
    return {
        "metadata": {"name": "rt"},
        "spec": {
            "mlPolicy": {"numNodes": 1, "torch": {}},
            "template": {"spec": {"replicatedJobs": [node], "failurePolicy": policy}},
        },
    }


def a_train_job(nodes: int = 2) -> JSONObject:
    return {
        "metadata": {"name": "tj"},
        "spec": {
            "runtimeRef": {"kind": "TrainingRuntime", "name": "rt"},
            "trainer": {"numNodes": nodes, "numProcPerNode": 2},
        },
    }


def by_index(pods: Objects) -> dict[str, str]:
    """Names of pods, by their host names."""
    return {pod["spec"]["hostname"]: name for name, pod in pods.items()}


def test_a_job_of_several_pods_completes(play: Play) -> None:
    play.make(JOB, a_job(completions=2, parallelism=2, completionMode="Indexed"))
    pods = play.placed(2)
    assert set(by_index(pods)) == {"job-0", "job-1"}
    for name in pods:
        play.be(name, running(container="node"))
    play.wait_for(JOB, "job", lambda job: job["status"].get("ready") == 2)
    for name in pods:
        play.be(name, ended(0, "node"))
    job = play.wait_true(JOB, "job", "Complete")
    assert (job["status"]["succeeded"], job["status"]["completedIndexes"]) == (2, "0,1")
    play.wait(
        POD, lambda found: not any(one["metadata"].get("finalizers") for one in found.values())
    )
    assert play.wait_event("job", "Completed") == "Job completed"


def test_a_job_counts_pods_that_are_deleted_at_once(play: Play) -> None:
    play.make(JOB, a_job(backoffLimit=0))
    (name,) = play.placed(1)
    play.be(name, running(container="node"))
    delete(play.registry, POD, "default", name, Deletion(grace_s=0))
    job = play.wait_true(JOB, "job", "Failed")
    assert job["status"]["failed"] == 1
    play.wait(POD, lambda found: not found)
    play.wait_event("job", "BackoffLimitExceeded")


def test_the_pods_of_a_deleted_job_are_not_held(play: Play) -> None:
    play.make(JOB, a_job(completions=2, parallelism=2))
    for name in play.placed(2):
        play.be(name, running(container="node"))
    delete(play.registry, JOB, "default", "job")
    play.wait(
        POD, lambda found: all("deletionTimestamp" in one["metadata"] for one in found.values())
    )
    play.reap()
    play.wait(POD, lambda found: not found)


def test_a_train_job_starts_anew_after_a_loss_and_completes(play: Play) -> None:
    play.make(TRAINJOB, a_train_job())
    play.wait_event("tj", "TrainJobResourcesCreationFailed")
    play.make(RUNTIME, a_runtime())
    first = play.placed(2)
    assert set(by_index(first)) == {"tj-node-0-0", "tj-node-0-1"}
    assert {pod["spec"]["subdomain"] for pod in first.values()} == {"tj"}
    assert play.get(SERVICE, "tj")["spec"]["clusterIP"] == "None"
    for name in first:
        play.be(name, running(container="node"))
    play.be(by_index(first)["tj-node-0-1"], ended(137, "node"))
    other = by_index(first)["tj-node-0-0"]
    play.wait_for(POD, other, lambda pod: "deletionTimestamp" in pod["metadata"])
    play.gone(other)
    play.wait(POD, lambda found: not set(found) & set(first))
    assert play.get(JOBSET, "tj")["status"]["restarts"] == 1
    second = play.placed(2)
    assert not set(first) & set(second)
    for name in second:
        play.be(name, ended(0, "node"))
    play.wait_true(TRAINJOB, "tj", "Complete")


def test_a_final_exit_code_fails_a_train_job(play: Play) -> None:
    play.make(RUNTIME, a_runtime())
    play.make(TRAINJOB, a_train_job(1))
    (name,) = play.placed(1)
    play.be(name, ended(1, "node"))
    job = play.wait_true(TRAINJOB, "tj", "Failed")
    (condition,) = job["status"]["conditions"]
    assert condition["reason"] == "FailJobSetFailurePolicyAction"
    assert play.get(JOBSET, "tj")["status"]["terminalState"] == "Failed"


def test_controllers_that_have_nothing_to_do_write_nothing(play: Play) -> None:
    labels = {"app": "web"}
    template = {"metadata": {"labels": labels}, "spec": a_job()["spec"]["template"]["spec"]}
    template["spec"]["restartPolicy"] = "Always"
    spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    play.make(DEPLOYMENT, {"metadata": {"name": "web"}, "spec": spec})
    ports = [{"port": 80}]
    play.make(SERVICE, {"metadata": {"name": "web"}, "spec": {"selector": labels, "ports": ports}})
    play.make(JOB, a_job(suspend=True))
    play.make(RUNTIME, a_runtime())
    play.make(TRAINJOB, a_train_job(1))
    for name in play.placed(2):
        play.be(name, {**running(container="node"), "podIP": "10.0.0.1"})
    play.wait_for(DEPLOYMENT, "web", lambda one: one["status"].get("availableReplicas"))
    play.wait_for(TRAINJOB, "tj", lambda one: "'ready': 1" in str(one["status"]))
    play.wait_for(ENDPOINTS, "web", lambda one: one["subsets"])
    for number in range(2):
        # One thread does all in turn: when it has come to this pod, it has come to all before.
        pod = {
            "metadata": {"name": f"last-{number}"},
            "spec": template["spec"] | {"nodeSelector": {"a": "b"}},
        }
        since = play.registry.store.revision
        play.make(POD, pod)
        play.wait_event(f"last-{number}", "FailedScheduling")
    names = {change.key.name.split(".")[0] for change in play.registry.store.changes_after(since)}
    assert names == {"last-1"}
