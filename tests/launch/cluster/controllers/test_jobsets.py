"""JobSets and TrainJobs: what they make, when they start anew, and how they end."""

import copy
import hashlib
from datetime import datetime
from typing import Any

import pytest

from retort.launch.cluster.controllers.frame.outcome import NOTHING, Outcome
from retort.launch.cluster.controllers.jobsets.building import jobset_of
from retort.launch.cluster.controllers.jobsets.plan import plan
from retort.launch.cluster.controllers.jobsets.training import plan_training
from retort.launch.cluster.kinds.errors import JSONObject
from tests.launch.cluster.controllers.objects import (
    NOW,
    conditions,
    kept,
    later,
    made,
    reasons,
    removed,
    true,
)

LABEL = "jobset.sigs.k8s.io/"
ANEW = {"maxRestarts": 1}


def replicated(name: str = "node", replicas: int = 1, pods: int = 2, **more: Any) -> JSONObject:
    pod = {"spec": {"containers": [{"name": "node", "image": "x:1"}]}}
    template = {"spec": {"parallelism": pods, "completions": pods, "template": pod}}
    return {"name": name, "replicas": replicas, "template": template, **more}


def a_set(*jobs: JSONObject, **spec: Any) -> JSONObject:
    listed = list(jobs or (replicated(),))
    return kept({"metadata": {"name": "js"}, "spec": {"replicatedJobs": listed, **spec}})


def job_status(kind: str = "", reason: str = "", at: str = "12:00:00", **counts: int) -> JSONObject:
    condition = {"type": kind, "status": "True", "reason": reason, "message": f"because {reason}"}
    condition["lastTransitionTime"] = f"2026-01-31T{at}Z"
    return {**counts, **({"conditions": [condition]} if kind else {})}


COMPLETE = job_status("Complete", "CompletionsReached", succeeded=2)
LOST = job_status("Failed", "BackoffLimitExceeded", failed=1)


class World:
    """A JobSet, and the jobs that came of it."""

    def __init__(self, item: JSONObject) -> None:
        self.item = item
        self.jobs: dict[str, JSONObject] = {}
        self.services: list[JSONObject] = []

    def look(self, now: datetime = NOW) -> Outcome:
        outcome = plan(self.item, list(self.jobs.values()), bool(self.services), now)
        if outcome.status is not None:
            self.item["status"] = outcome.status
        for _, job in outcome.updates:
            self.jobs[job["metadata"]["name"]] = job
        for name in removed(outcome, "Job"):
            self.jobs[name]["metadata"]["deletionTimestamp"] = "2026-01-31T12:00:00Z"
        self.services += made(outcome, "Service")
        for job in made(outcome, "Job"):
            self.jobs[job["metadata"]["name"]] = kept(job)
        return outcome

    def reap(self) -> None:
        """Jobs that are being deleted are gone."""
        for name, job in list(self.jobs.items()):
            if "deletionTimestamp" in job["metadata"]:
                del self.jobs[name]

    def be(self, status: JSONObject, *names: str) -> None:
        for name in names or tuple(self.jobs):
            self.jobs[name]["status"] = copy.deepcopy(status)

    @property
    def status(self) -> Any:
        return self.item["status"]

    @property
    def true(self) -> set[str]:
        return true(self.item)

    @property
    def suspended(self) -> list[bool]:
        """Whether each job is."""
        return [job["spec"]["suspend"] for job in self.jobs.values()]


def test_jobs_have_names_labels_and_a_service_that_gives_their_pods_names() -> None:
    world = World(a_set(replicated("a", 2), replicated("b")))
    world.look()
    assert list(world.jobs) == ["js-a-0", "js-a-1", "js-b-0"]
    (service,) = world.services
    assert service["metadata"]["name"] == "js"
    assert service["spec"] == {
        "clusterIP": "None",
        "selector": {f"{LABEL}jobset-name": "js"},
        "publishNotReadyAddresses": True,
    }
    job = world.jobs["js-b-0"]
    said = {
        f"{LABEL}jobset-name": "js",
        f"{LABEL}jobset-uid": world.item["metadata"]["uid"],
        f"{LABEL}replicatedjob-name": "b",
        f"{LABEL}replicatedjob-replicas": "1",
        f"{LABEL}global-replicas": "3",
        f"{LABEL}job-index": "0",
        f"{LABEL}job-global-index": "2",
        f"{LABEL}job-key": hashlib.sha1(b"default/js-b-0").hexdigest(),
        f"{LABEL}restart-attempt": "0",
    }
    for metadata in (job["metadata"], job["spec"]["template"]["metadata"]):
        assert metadata["labels"] == metadata["annotations"] == said
    pod = job["spec"]["template"]["spec"]
    assert (pod["subdomain"], pod["restartPolicy"]) == ("js", "OnFailure")
    assert (job["spec"]["completionMode"], job["spec"]["suspend"]) == ("Indexed", False)
    assert made(world.look(), "Job") == []


def test_names_are_as_the_network_says() -> None:
    world = World(a_set(network={"subdomain": "here", "publishNotReadyAddresses": False}))
    world.look()
    assert world.services[0]["metadata"]["name"] == "here"
    assert world.services[0]["spec"]["publishNotReadyAddresses"] is False
    without = World(a_set(network={"enableDNSHostnames": False}))
    without.look()
    assert without.services == []
    assert "subdomain" not in without.jobs["js-node-0"]["spec"]["template"]["spec"]


@pytest.mark.parametrize(
    ("policy", "done", "completes"),
    [
        (None, ["js-a-0"], False),
        (None, ["js-a-0", "js-a-1", "js-b-0"], True),
        ({"operator": "Any"}, ["js-a-0"], True),
        ({"operator": "All", "targetReplicatedJobs": ["b"]}, ["js-a-0"], False),
        ({"operator": "All", "targetReplicatedJobs": ["b"]}, ["js-b-0"], True),
    ],
)
def test_a_set_is_complete_when_its_policy_says(
    policy: JSONObject | None, done: list[str], completes: bool
) -> None:
    spec = {"successPolicy": policy} if policy else {}
    world = World(a_set(replicated("a", 2), replicated("b"), **spec))
    world.look()
    world.be(COMPLETE, *done)
    outcome = world.look()
    assert ("Completed" in world.true) is completes
    if completes:
        assert (world.status["terminalState"], reasons(outcome)) == (
            "Completed",
            ["AllJobsCompleted"],
        )
        assert removed(world.look(), "Job") == sorted({"js-a-0", "js-a-1", "js-b-0"} - set(done))


def test_without_a_policy_a_failure_is_that_of_the_set() -> None:
    world = World(a_set())
    world.look()
    world.be(LOST)
    outcome = world.look()
    assert conditions(world.item) == {"Failed": ("True", "FailedJobs")}
    assert world.status["terminalState"] == "Failed"
    (event,) = outcome.events
    assert (event.type, event.message) == (
        "Warning",
        "jobset failed due to one or more job failures (first failed job: js-node-0)",
    )


def test_all_jobs_are_made_anew_as_often_as_they_may_be() -> None:
    world = World(a_set(replicated("a"), replicated("b"), failurePolicy=ANEW))
    world.look()
    world.be(LOST, "js-b-0")
    outcome = world.look()
    assert reasons(outcome) == ["RestartJobSetFailurePolicyAction"]
    assert (world.status["restarts"], world.status["restartsCountTowardsMax"]) == (1, 1)
    assert removed(world.look(), "Job") == ["js-a-0", "js-b-0"]
    assert made(world.look(), "Job") == []  # names are free when the jobs are gone
    world.reap()
    world.look()
    assert list(world.jobs) == ["js-a-0", "js-b-0"]
    assert world.jobs["js-a-0"]["metadata"]["labels"][f"{LABEL}restart-attempt"] == "1"
    world.be(LOST, "js-a-0")
    world.look()
    assert conditions(world.item)["Failed"] == ("True", "ReachedMaxRestarts")


@pytest.mark.parametrize(("strategy", "waits"), [("Recreate", False), ("BlockingRecreate", True)])
def test_a_strategy_may_wait_for_the_end_of_all_jobs(strategy: str, waits: bool) -> None:
    policy = {**ANEW, "restartStrategy": strategy}
    world = World(a_set(replicated("a"), replicated("b"), failurePolicy=policy))
    world.look()
    world.be(LOST, "js-b-0")
    world.look()
    world.look()
    del world.jobs["js-b-0"]  # gone, while the other still ends
    assert (made(world.look(), "Job") == []) is waits
    world.reap()
    world.look()
    assert set(world.jobs) == {"js-a-0", "js-b-0"}


RULES = {
    "final": {"action": "FailJobSet", "onJobFailureReasons": ["PodFailurePolicy"]},
    "leader": {"action": "FailJobSet", "targetReplicatedJobs": ["a"]},
    "said": {"action": "FailJobSet", "onJobFailureMessagePatterns": ["exit code 2", "PodFail.*y$"]},
    "broken": {"action": "FailJobSet", "onJobFailureMessagePatterns": ["("]},
    "free": {"action": "RestartJobSetAndIgnoreMaxRestarts"},
    "other": {"action": "RestartJob"},
}


@pytest.mark.parametrize(
    ("rule", "job", "reason", "expected"),
    [
        ("final", "b", "PodFailurePolicy", "FailJobSetFailurePolicyAction"),
        ("final", "b", "BackoffLimitExceeded", "RestartJobSetFailurePolicyAction"),
        ("leader", "a", "BackoffLimitExceeded", "FailJobSetFailurePolicyAction"),
        ("leader", "b", "BackoffLimitExceeded", "RestartJobSetFailurePolicyAction"),
        ("said", "b", "PodFailurePolicy", "FailJobSetFailurePolicyAction"),
        ("said", "b", "BackoffLimitExceeded", "RestartJobSetFailurePolicyAction"),
        ("broken", "b", "PodFailurePolicy", "RestartJobSetFailurePolicyAction"),
        (
            "free",
            "b",
            "BackoffLimitExceeded",
            "RestartJobSetAndIgnoreMaxRestartsFailurePolicyAction",
        ),
        ("other", "b", "BackoffLimitExceeded", "UnknownFailurePolicyAction"),
    ],
)
def test_the_first_rule_that_fits_says_what_is_done(
    rule: str, job: str, reason: str, expected: str
) -> None:
    policy = {**ANEW, "rules": [RULES[rule]]}
    world = World(a_set(replicated("a"), replicated("b"), failurePolicy=policy))
    world.look()
    world.be(job_status("Failed", reason), f"js-{job}-0")
    outcome = world.look()
    assert reasons(outcome) == [expected]
    assert ("Failed" in world.true) is not expected.startswith("Restart")
    if rule == "free":
        assert "restartsCountTowardsMax" not in world.status


def test_the_job_that_failed_first_is_named() -> None:
    world = World(a_set(replicated("a", 2)))
    world.look()
    world.be(job_status("Failed", "BackoffLimitExceeded", at="12:00:01"), "js-a-0")
    world.be(job_status("Failed", "BackoffLimitExceeded", at="12:00:00"), "js-a-1")
    assert "(first failed job: js-a-1)" in world.look().events[0].message


def test_suspending_reaches_all_jobs_and_so_does_resuming() -> None:
    world = World(a_set(suspend=True))
    world.look()
    assert world.suspended == [True]
    assert conditions(world.item) == {"Suspended": ("True", "SuspendedJobs")}
    world.item["spec"]["suspend"] = False
    assert reasons(world.look()) == ["ResumeJobs"]
    assert world.suspended == [False]
    assert conditions(world.item) == {"Suspended": ("False", "ResumeJobs")}
    world.item["spec"]["suspend"] = True
    world.look()
    assert world.suspended == [True]


@pytest.mark.parametrize(
    ("status", "reached"),
    [(job_status(ready=2, active=2), "Ready"), (COMPLETE, "Complete")],
)
def test_a_job_that_depends_on_another_comes_after_it(status: JSONObject, reached: str) -> None:
    after = replicated("b", dependsOn=[{"name": "a", "status": reached}])
    world = World(a_set(replicated("a"), after))
    world.look()
    assert list(world.jobs) == ["js-a-0"]
    world.be(job_status(ready=1, active=2))
    world.look()
    assert list(world.jobs) == ["js-a-0"]
    world.be(status)
    world.look()
    assert list(world.jobs) == ["js-a-0", "js-b-0"]


def test_jobs_may_start_in_order() -> None:
    policy = {"startupPolicyOrder": "InOrder"}
    world = World(a_set(replicated("a"), replicated("b"), startupPolicy=policy))
    world.look()
    assert (list(world.jobs), world.true) == (["js-a-0"], {"StartupPolicyInProgress"})
    world.be(job_status(ready=2, active=2))
    world.look()
    assert list(world.jobs) == ["js-a-0", "js-b-0"]
    world.be(job_status(ready=2, active=2))
    world.look()
    assert world.true == {"StartupPolicyCompleted"}


def test_the_status_counts_jobs() -> None:
    world = World(a_set(replicated("a", 3)))
    world.look()
    world.be(job_status(ready=2, active=2), "js-a-0")
    world.be(job_status(ready=1, active=2), "js-a-1")
    world.be(COMPLETE, "js-a-2")
    world.look()
    assert world.status["replicatedJobsStatus"] == [
        {"name": "a", "ready": 1, "succeeded": 1, "failed": 0, "active": 2, "suspended": 0}
    ]


def test_a_finished_set_is_deleted_when_its_time_is_over() -> None:
    world = World(a_set(ttlSecondsAfterFinished=60))
    world.look()
    world.be(COMPLETE)
    world.look()
    assert world.look(later(59)).again_at == later(60)
    assert removed(world.look(later(60)), "JobSet") == ["js"]
    assert World(a_set(managedBy="kueue.x-k8s.io/multikueue")).look() == NOTHING


# TrainJob


def a_runtime(**policy: Any) -> JSONObject:
    one = replicated(pods=1)
    one["template"]["metadata"] = {
        "labels": {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}
    }
    spec = {"replicatedJobs": [one], "failurePolicy": ANEW}
    policy = {"numNodes": 1, "torch": {}, **policy}
    return kept(
        {"metadata": {"name": "rt"}, "spec": {"mlPolicy": policy, "template": {"spec": spec}}}
    )


def a_train_job(trainer: JSONObject | None = None, **spec: Any) -> JSONObject:
    reference = {"apiGroup": "trainer.kubeflow.org", "kind": "TrainingRuntime", "name": "rt"}
    spec = {"runtimeRef": reference, **({} if trainer is None else {"trainer": trainer}), **spec}
    return kept({"metadata": {"name": "tj"}, "spec": spec})


def node_of(jobset: JSONObject) -> Any:
    template = jobset["spec"]["replicatedJobs"][0]["template"]["spec"]
    return template["template"]["spec"]["containers"][0]


def test_a_train_job_becomes_a_set_whose_pods_know_where_they_meet() -> None:
    own = [{"name": "A", "value": "1"}]
    trainer = {"numNodes": 2, "numProcPerNode": 3, "args": ["x"], "image": "y:1", "env": own}
    found = jobset_of(a_train_job(trainer), a_runtime())
    assert found["metadata"]["name"] == "tj"
    (one,) = found["spec"]["replicatedJobs"]
    spec = one["template"]["spec"]
    assert (spec["parallelism"], spec["completions"], one["replicas"]) == (2, 2, 1)
    node = node_of(found)
    assert (node["image"], node["args"], node["ports"]) == (
        "y:1",
        ["x"],
        [{"containerPort": 29500}],
    )
    path = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
    assert node["env"] == [
        *own,
        {"name": "PET_NNODES", "value": "2"},
        {"name": "PET_NPROC_PER_NODE", "value": "3"},
        {"name": "PET_NODE_RANK", "valueFrom": {"fieldRef": {"fieldPath": path}}},
        {"name": "PET_MASTER_ADDR", "value": "tj-node-0-0.tj"},
        {"name": "PET_MASTER_PORT", "value": "29500"},
    ]


def test_without_a_trainer_nothing_is_told() -> None:
    found = jobset_of(a_train_job(), a_runtime(numNodes=4))
    assert "env" not in node_of(found)
    assert found["spec"]["replicatedJobs"][0]["template"]["spec"]["completions"] == 4


@pytest.mark.parametrize(
    ("trainer", "processes"),
    [
        ({}, "1"),
        ({"resourcesPerNode": {"requests": {"cpu": "2500m"}}}, "3"),
        ({"resourcesPerNode": {"limits": {"cpu": "8", "nvidia.com/gpu": "2"}}}, "auto"),
        ({"resourcesPerNode": {"limits": {"cpu": "8"}}, "numProcPerNode": "gpu"}, "gpu"),
        ({"resourcesPerNode": {"limits": {"cpu": "8"}}, "numProcPerNode": 2}, "2"),
    ],
)
def test_processes_are_as_many_as_cpus_where_nothing_is_said(
    trainer: JSONObject, processes: str
) -> None:
    variables = {
        one["name"]: one.get("value")
        for one in node_of(jobset_of(a_train_job(trainer), a_runtime()))["env"]
    }
    assert variables["PET_NPROC_PER_NODE"] == processes


def test_a_train_job_waits_for_its_runtime_and_says_so() -> None:
    outcome = plan_training(a_train_job({}), None, None, NOW)
    assert outcome.creations == ()
    (event,) = outcome.events
    assert event.reason == "TrainJobResourcesCreationFailed"
    assert 'trainingruntimes.trainer.kubeflow.org "rt" not found' in event.message
    assert len(plan_training(a_train_job({}), a_runtime(), None, NOW).creations) == 1


@pytest.mark.parametrize(("theirs", "ours"), [("Completed", "Complete"), ("Failed", "Failed")])
def test_a_train_job_ends_as_its_set_does(theirs: str, ours: str) -> None:
    job, jobset = a_train_job({}), a_set()
    jobset["status"] = {**job_status(theirs, "Why"), "replicatedJobsStatus": [{"name": "node"}]}
    job["status"] = plan_training(job, a_runtime(), jobset, NOW).status
    assert conditions(job) == {ours: ("True", "Why")}
    assert job["status"]["jobsStatus"] == [{"name": "node"}]
    # A set that is deleted after that is not made again.
    assert plan_training(job, a_runtime(), None, NOW).creations == ()


def test_a_train_job_is_suspended_and_resumed() -> None:
    job = a_train_job({}, suspend=True)
    outcome = plan_training(job, a_runtime(), None, NOW)
    (jobset,) = made(outcome, "JobSet")
    assert jobset["spec"]["suspend"] is True
    job["status"] = outcome.status
    assert conditions(job) == {"Suspended": ("True", "Suspended")}
    job["spec"]["suspend"] = False
    outcome = plan_training(job, a_runtime(), kept(jobset), later(5))
    ((_, resumed),) = outcome.updates
    assert resumed["spec"]["suspend"] is False
    assert conditions(outcome.status) == {"Suspended": ("False", "Resumed")}


@pytest.mark.parametrize("how", ["time", "annotation"])
def test_the_deadline_of_a_train_job(how: str) -> None:
    job, jobset = a_train_job({}, activeDeadlineSeconds=60), a_set()
    assert plan_training(job, a_runtime(), jobset, later(59)).again_at == later(60)
    if how == "annotation":
        job["metadata"]["annotations"] = {"retort/deadline": "passed"}
    outcome = plan_training(job, a_runtime(), jobset, later(60 if how == "time" else 1))
    assert conditions(outcome.status) == {"Failed": ("True", "DeadlineExceeded")}
    assert removed(outcome, "JobSet") == ["js"]
    job["status"] = outcome.status
    assert plan_training(job, a_runtime(), None, later(61)).creations == ()
