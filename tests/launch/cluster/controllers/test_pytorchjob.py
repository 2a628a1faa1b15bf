"""A PyTorchJob's pods, services and conditions, case by case as the operator has them."""

import pytest

from retort.launch.cluster.controllers.frame.outcome import NOTHING
from retort.launch.cluster.kinds.errors import JSONObject
from tests.launch.cluster.controllers.objects import (
    conditions,
    ended,
    environment,
    later,
    made,
    reasons,
    removed,
    running,
)
from tests.launch.cluster.controllers.pytorchjobs import World, a_job, running_world

LABEL = "training.kubeflow.org/"
JUST = {"minReplicas": 1, "maxReplicas": 3}


def pods_of(job: JSONObject) -> dict[str, JSONObject]:
    world = World(job)
    world.look()
    return world.pods


def test_a_master_is_met_at_its_port_under_the_name_of_its_service() -> None:
    world = World(a_job(2, master=True, port=8080))
    world.look()
    variables = environment(world.pods["job-master-0"])
    assert variables["MASTER_PORT"] == variables["PET_MASTER_PORT"] == "8080"
    assert variables["MASTER_ADDR"] == variables["PET_MASTER_ADDR"] == "job-master-0"
    assert variables["PET_NPROC_PER_NODE"] == "auto"
    assert world.services["job-master-0"]["spec"]["ports"] == [
        {"name": "pytorchjob-port", "port": 8080}
    ]


def test_ranks_and_world_size_are_of_pods() -> None:
    pods = pods_of(a_job(2, master=True))
    ranks = {name: environment(pod)["RANK"] for name, pod in pods.items()}
    assert ranks == {"job-master-0": "0", "job-worker-0": "1", "job-worker-1": "2"}
    worker = environment(pods["job-worker-0"])
    assert (worker["PET_NODE_RANK"], worker["WORLD_SIZE"], worker["PET_NNODES"]) == ("1", "3", "3")


@pytest.mark.parametrize(
    ("processes", "world"), [("2", "6"), ("auto", "3"), ("gpu", "3"), ("cpu", "3")]
)
def test_the_world_counts_processes_where_their_number_is_said(processes: str, world: str) -> None:
    pods = pods_of(a_job(2, master=True, nprocPerNode=processes))
    for number, pod in enumerate(pods.values()):
        variables = environment(pod)
        assert (variables["WORLD_SIZE"], variables["RANK"]) == (world, str(number))
        assert variables["PET_NPROC_PER_NODE"] == processes


def test_an_elastic_job_is_told_of_its_rendezvous_and_of_no_rank() -> None:
    elastic = {**JUST, "maxRestarts": 3, "rdzvBackend": "c10d"}
    (pod,) = pods_of(a_job(1, port=4567, elasticPolicy=elastic)).values()
    assert environment(pod) == {
        "PYTHONUNBUFFERED": "1",
        "PET_NPROC_PER_NODE": "auto",
        "PET_RDZV_ENDPOINT": "job-worker-0:4567",
        "PET_RDZV_BACKEND": "c10d",
        "PET_NNODES": "1:3",
        "PET_MAX_RESTARTS": "3",
    }


def test_all_that_an_elastic_policy_says_is_told() -> None:
    elastic: JSONObject = {**JUST, "rdzvPort": 1234, "rdzvHost": "localhost", "rdzvId": "rdzv-id"}
    elastic |= {"maxRestarts": 3, "standalone": True, "nProcPerNode": 4}
    elastic["rdzvConf"] = [{"key": "a", "value": "1"}, {"key": "b", "value": "2"}]
    (pod,) = pods_of(a_job(1, elasticPolicy=elastic)).values()
    listed = [(one["name"], one["value"]) for one in pod["spec"]["containers"][0]["env"]]
    assert listed == [
        ("PYTHONUNBUFFERED", "1"),
        ("PET_RDZV_ENDPOINT", "localhost:1234"),
        ("PET_RDZV_BACKEND", "c10d"),
        ("PET_NNODES", "1:3"),
        ("PET_MAX_RESTARTS", "3"),
        ("PET_NPROC_PER_NODE", "4"),
        ("PET_RDZV_ID", "rdzv-id"),
        ("PET_RDZV_CONF", "a=1,b=2"),
        ("PET_STANDALONE", ""),
    ]


def test_without_an_elastic_policy_nothing_of_a_rendezvous_is_told() -> None:
    for pod in pods_of(a_job(2)).values():
        assert not any(name.startswith("PET_RDZV") for name in environment(pod))
        assert environment(pod)["PET_NNODES"] == "2"


@pytest.mark.parametrize(
    ("elastic", "nodes"),
    [({}, "2:2"), ({"minReplicas": 1}, "1:1"), ({"maxReplicas": 4}, "4:4"), (JUST, "1:3")],
)
def test_what_an_elastic_policy_leaves_out_is_the_number_of_workers(
    elastic: JSONObject, nodes: str
) -> None:
    for pod in pods_of(a_job(2, elasticPolicy=elastic)).values():
        assert environment(pod)["PET_NNODES"] == nodes


def test_workers_wait_for_a_master_and_for_nobody_else() -> None:
    assert "initContainers" not in pods_of(a_job(1))["job-worker-0"]["spec"]
    pods = pods_of(a_job(1, master=True))
    assert "initContainers" not in pods["job-master-0"]["spec"]
    (waiting,) = pods["job-worker-0"]["spec"]["initContainers"]
    assert (waiting["name"], waiting["image"]) == ("init-pytorch", "alpine:3.10")
    assert "seq 100" in waiting["command"][2]
    assert "nslookup job-master-0;" in waiting["command"][2]
    assert "sleep 2" in waiting["command"][2]
    assert "securityContext" not in waiting
    assert "env" not in waiting


def test_sidecars_have_the_variables_after_their_own_and_init_containers_have_none() -> None:
    job = a_job(1)
    spec = job["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]["spec"]
    spec["containers"].append(
        {"name": "side", "image": "y:1", "env": [{"name": "A", "value": "1"}]}
    )
    spec["initContainers"] = [{"name": "before", "image": "y:1"}]
    pod = pods_of(job)["job-worker-0"]
    side = [one["name"] for one in pod["spec"]["containers"][1]["env"]]
    assert side == ["A", "PYTHONUNBUFFERED", "PET_NPROC_PER_NODE", "PET_NNODES"]
    assert "ports" not in pod["spec"]["containers"][1]
    assert pod["spec"]["initContainers"] == [{"name": "before", "image": "y:1"}]


def test_a_job_that_is_made_suspended_has_nothing_and_has_not_started() -> None:
    world = World(a_job(2, policy={"suspend": True}))
    outcome = world.look()
    assert (outcome.creations, outcome.removals) == ((), ())
    assert "startTime" not in world.job["status"]
    assert conditions(world.job) == {
        "Created": ("True", "PyTorchJobCreated"),
        "Suspended": ("True", "PyTorchJobSuspended"),
    }


@pytest.mark.parametrize("clean", ["None", "Running", "All"])
def test_suspending_removes_pods_and_services_whatever_is_to_be_cleaned(clean: str) -> None:
    world = running_world(a_job(2, policy={"cleanPodPolicy": clean}))
    start = world.job["status"]["startTime"]
    world.job["spec"]["runPolicy"]["suspend"] = True
    outcome = world.look(later(60))
    both = ["job-worker-0", "job-worker-1"]
    assert removed(outcome, "Pod") == removed(outcome, "Service") == both
    assert conditions(world.job)["Running"] == ("False", "PyTorchJobSuspended")
    assert conditions(world.job)["Suspended"] == ("True", "PyTorchJobSuspended")
    assert world.job["status"]["startTime"] == start
    assert "active" not in world.job["status"]["replicaStatuses"]["Worker"]
    assert reasons(outcome) == ["PyTorchJobSuspended"]
    assert reasons(world.look(later(61))) == []


def test_a_resumed_job_begins_anew_and_so_does_its_deadline() -> None:
    world = running_world(a_job(2, policy={"activeDeadlineSeconds": 100}))
    world.job["spec"]["runPolicy"]["suspend"] = True
    world.settle(later(60))
    world.job["spec"]["runPolicy"]["suspend"] = False
    outcome = world.look(later(90))
    assert len(made(outcome, "Pod")) == len(made(outcome, "Service")) == 2
    assert conditions(world.job)["Suspended"] == ("False", "PyTorchJobResumed")
    assert world.job["status"]["startTime"] == "2026-01-31T12:01:30Z"
    world.be(running())
    assert world.look(later(150)).again_at == later(190)
    assert world.true == {"Created", "Running"}
    world.look(later(190))
    assert world.true == {"Created", "Failed"}


@pytest.mark.parametrize("suspend", [True, False])
def test_a_job_of_another_controller_is_left_alone(suspend: bool) -> None:
    policy = {"managedBy": "kueue.x-k8s.io/multikueue", "suspend": suspend}
    assert World(a_job(2, policy=policy)).look() == NOTHING
    assert World(a_job(1, policy={"managedBy": "kubeflow.org/training-operator"})).look().creations


def test_a_master_that_has_succeeded_is_the_success_of_the_job() -> None:
    world = running_world(a_job(2, master=True))
    world.be(ended(0), "job-master-0")
    outcome = world.look()
    assert world.true == {"Created", "Succeeded"}
    assert conditions(world.job)["Running"][0] == "False"
    assert world.job["status"]["completionTime"]
    assert reasons(outcome) == ["ExitedWithCode", "PyTorchJobSucceeded"]


@pytest.mark.parametrize("elastic", [True, False])
def test_workers_have_succeeded_when_all_have_or_elastic_ones_when_any_has(elastic: bool) -> None:
    world = running_world(a_job(2, elasticPolicy={} if elastic else None))
    world.be(ended(0), "job-worker-1")
    world.look()
    assert ("Succeeded" in world.true) is elastic
    world.be(ended(0))
    world.settle()
    assert world.true == {"Created", "Succeeded"}


@pytest.mark.parametrize("code", [128, 137, 143, None])
def test_exit_codes_from_128_on_and_evictions_have_the_pod_made_again(code: int | None) -> None:
    world = running_world(a_job(2, restarts="ExitCode"))
    assert {pod["spec"]["restartPolicy"] for pod in world.pods.values()} == {"Never"}
    status = {"phase": "Failed", "reason": "Evicted"} if code is None else ended(code)
    world.be(status, "job-worker-1")
    outcome = world.look()
    assert removed(outcome, "Pod") == ["job-worker-1"]
    assert removed(outcome, "Service") == []
    assert world.true == {"Created", "Restarting"}
    assert "Running" not in conditions(world.job)
    world.look()
    world.be(running())
    world.settle()
    assert world.true == {"Created", "Running"}


@pytest.mark.parametrize("code", [1, 2, 127])
def test_exit_codes_below_128_fail_the_job(code: int) -> None:
    policy = {"ttlSecondsAfterFinished": 0}
    world = running_world(a_job(2, restarts="ExitCode", policy=policy))
    world.be(ended(code), "job-worker-1")
    outcome = world.look()
    assert world.true == {"Created", "Failed"}
    assert conditions(world.job)["Failed"][1] == "PyTorchJobFailed"
    assert reasons(outcome)[:2] == ["ExitedWithCode", "PyTorchJobFailed"]
    assert (outcome.removals, world.look(later(9)).removals) == ((), ())
    assert "completionTime" not in world.job["status"]  # so that its ttl never comes


@pytest.mark.parametrize("restarts", ["OnFailure", "Always"])
def test_a_failed_pod_is_made_again(restarts: str) -> None:
    world = running_world(a_job(2, restarts=restarts))
    world.be(ended(1), "job-worker-0")
    assert removed(world.look(), "Pod") == ["job-worker-0"]
    assert world.true == {"Created", "Restarting"}
    assert [one["metadata"]["name"] for one in made(world.look(), "Pod")] == ["job-worker-0"]


def test_a_failed_pod_that_is_never_started_again_fails_the_job() -> None:
    world = running_world(a_job(2, restarts="Never"))
    world.be(ended(137), "job-worker-0")
    world.look()
    assert world.true == {"Created", "Failed"}
    assert world.job["status"]["completionTime"]


@pytest.mark.parametrize(("limit", "restarts"), [(3, (1, 1)), (1, (0, 0)), (0, (0, 0))])
def test_a_backoff_limit_that_is_not_reached(limit: int, restarts: tuple[int, int]) -> None:
    world = running_world(a_job(2, policy={"backoffLimit": limit}))
    for name, number in zip(world.pods, restarts, strict=True):
        world.be(running(number), name)
    world.settle()
    assert world.true == {"Created", "Running"}


@pytest.mark.parametrize(("limit", "restarts"), [(3, (2, 1)), (1, (1, 0)), (0, (1, 0))])
def test_the_backoff_limit_counts_restarts_of_containers_together(
    limit: int, restarts: tuple[int, int]
) -> None:
    world = running_world(a_job(2, policy={"backoffLimit": limit}))
    for name, number in zip(world.pods, restarts, strict=True):
        world.be(running(number), name)
    outcome = world.look()
    assert world.true == {"Created", "Failed"}
    assert (
        "has reached the specified backoff limit"
        in world.job["status"]["conditions"][-1]["message"]
    )
    assert reasons(outcome) == ["PyTorchJobFailed"]


def test_with_no_backoff_a_failed_pod_fails_the_job() -> None:
    world = running_world(a_job(2, policy={"backoffLimit": 0}))
    world.be(ended(137), "job-worker-0")
    world.look()
    assert world.true == {"Created", "Failed"}


def test_restarts_of_pods_that_are_gone_do_not_count() -> None:
    world = running_world(a_job(2, restarts="ExitCode", policy={"backoffLimit": 2}))
    for _ in range(5):
        world.be(ended(137), "job-worker-0")
        world.settle()
        world.be(running())
        world.settle()
    assert world.true == {"Created", "Running"}


@pytest.mark.parametrize(
    ("clean", "gone"),
    [("None", []), ("Running", ["job-worker-1"]), ("All", ["job-worker-0", "job-worker-1"])],
)
@pytest.mark.parametrize("how", ["time", "annotation"])
def test_a_deadline_fails_the_job_and_the_policy_says_what_is_cleaned(
    clean: str, gone: list[str], how: str
) -> None:
    world = running_world(a_job(2, policy={"activeDeadlineSeconds": 60, "cleanPodPolicy": clean}))
    world.be(ended(0), "job-worker-0")
    assert world.look(later(59)).again_at == later(60)
    if how == "annotation":
        world.job["metadata"]["annotations"] = {"retort/deadline": "passed"}
    outcome = world.look(later(60 if how == "time" else 59))
    assert (
        "was active longer than specified deadline"
        in world.job["status"]["conditions"][-1]["message"]
    )
    assert removed(outcome, "Pod") == removed(outcome, "Service") == gone
    assert world.true == {"Created", "Failed"}


@pytest.mark.parametrize(
    ("clean", "gone"),
    [(None, []), ("Running", ["job-worker-1"]), ("All", ["job-worker-0", "job-worker-1"])],
)
def test_a_finished_job_keeps_the_pods_that_its_policy_keeps(
    clean: str | None, gone: list[str]
) -> None:
    policy = {"cleanPodPolicy": clean} if clean else {}
    world = running_world(a_job(2, policy=policy, elasticPolicy={}))
    world.be(ended(0), "job-worker-0")
    assert world.look().removals == ()
    outcome = world.look()
    assert removed(outcome, "Pod") == removed(outcome, "Service") == gone
    # The others count as having succeeded, though they may run on.
    assert world.job["status"]["replicaStatuses"]["Worker"]["succeeded"] == 2


def test_a_finished_job_is_deleted_when_its_time_to_live_is_over() -> None:
    world = running_world(a_job(1, policy={"ttlSecondsAfterFinished": 60}))
    world.be(ended(0))
    world.look()
    assert world.look(later(59)).again_at == later(60)
    assert removed(world.look(later(60)), "PyTorchJob") == ["job"]


@pytest.mark.parametrize("master", [True, False])
def test_each_pod_has_labels_and_a_headless_service_of_its_name(master: bool) -> None:
    world = World(a_job(2, master=master))
    world.look()
    leading = "job-master-0" if master else "job-worker-0"
    assert world.pods.keys() == world.services.keys()
    for name, pod in world.pods.items():
        _, kind, index = name.split("-")
        labels = {
            f"{LABEL}operator-name": "pytorchjob-controller",
            f"{LABEL}job-name": "job",
            f"{LABEL}replica-type": kind,
            f"{LABEL}replica-index": index,
        }
        role = {f"{LABEL}job-role": "master"} if name == leading else {}
        assert pod["metadata"]["labels"] == labels | role
        assert pod["spec"]["containers"][0]["ports"] == [
            {"name": "pytorchjob-port", "containerPort": 23456, "protocol": "TCP"}
        ]
        service = world.services[name]
        assert service["metadata"]["labels"] == service["spec"]["selector"] == labels
        assert service["spec"]["clusterIP"] == "None"
        assert service["spec"]["ports"] == [{"name": "pytorchjob-port", "port": 23456}]
        for one in (pod, service):
            (owner,) = one["metadata"]["ownerReferences"]
            assert (owner["kind"], owner["uid"]) == ("PyTorchJob", world.job["metadata"]["uid"])


def test_a_pod_that_someone_has_deleted_is_made_again() -> None:
    world = running_world(a_job(2))
    del world.pods["job-worker-1"]
    assert [one["metadata"]["name"] for one in made(world.look(), "Pod")] == ["job-worker-1"]
    assert world.services.keys() == world.pods.keys()


def test_a_job_of_fewer_workers_removes_the_last_ones() -> None:
    world = running_world(a_job(3))
    world.job["spec"]["pytorchReplicaSpecs"]["Worker"]["replicas"] = 1
    outcome = world.look()
    gone = ["job-worker-1", "job-worker-2"]
    assert removed(outcome, "Pod") == removed(outcome, "Service") == gone


def test_a_job_tells_of_its_pods_that_wait() -> None:
    world = World(a_job(1))
    world.look()
    waiting = {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}
    status = {"name": "pytorch", "restartCount": 0, "state": {"waiting": waiting}}
    world.be({"phase": "Pending", "containerStatuses": [status]})
    (event,) = world.look().events
    assert (event.type, event.reason) == ("Warning", "ImagePullBackOff")
    assert "job-worker-0 container pytorch waiting message: Back-off" in event.message


def test_replica_statuses_count_pods_by_type() -> None:
    world = running_world(a_job(2, master=True))
    selector = (
        f"{LABEL}job-name=job,{LABEL}operator-name=pytorchjob-controller,{LABEL}replica-type="
    )
    assert world.job["status"]["replicaStatuses"] == {
        "Master": {"active": 1, "selector": f"{selector}master"},
        "Worker": {"active": 2, "selector": f"{selector}worker"},
    }
