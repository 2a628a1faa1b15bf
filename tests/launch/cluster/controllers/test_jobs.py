"""Jobs: how many pods they have, what counts, and how they end."""

from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retort.launch.cluster.controllers.frame.outcome import NOTHING, Outcome
from retort.launch.cluster.controllers.jobs.plan import plan
from retort.launch.cluster.controllers.jobs.tracking import (
    FINALIZER,
    INDEX,
    read_indexes,
    write_indexes,
)
from retort.launch.cluster.kinds.errors import JSONObject
from tests.launch.cluster.controllers.objects import (
    NOW,
    conditions,
    ended,
    kept,
    later,
    made,
    reasons,
    running,
    true,
)

FAIL_ON_1 = {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [1, 2]}}
IGNORE_LOSS = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}


def a_job(restarts: str = "Never", **spec: Any) -> JSONObject:
    container = {"name": "c", "image": "x:1"}
    template = {"metadata": {}, "spec": {"restartPolicy": restarts, "containers": [container]}}
    spec = {"parallelism": 1, "completions": 1, "backoffLimit": 6, "template": template, **spec}
    if spec["completions"] is None:
        del spec["completions"]
    return kept({"metadata": {"name": "job"}, "spec": spec})


def indexed(number: int, parallelism: int | None = None, **spec: Any) -> JSONObject:
    many = parallelism or number
    return a_job(completionMode="Indexed", completions=number, parallelism=many, **spec)


class World:
    """A job, the pods that came of it, and a node that ends them as it is told."""

    def __init__(self, job: JSONObject) -> None:
        self.job = job
        self.pods: dict[str, JSONObject] = {}

    def look(self, now: datetime = NOW) -> Outcome:
        outcome = plan(self.job, list(self.pods.values()), now)
        if outcome.status is not None:
            self.job["status"] = outcome.status
        for _, pod in outcome.updates:
            self.pods[pod["metadata"]["name"]] = pod
        for removal in outcome.removals:
            if removal.kind.kind == "Pod":
                pod = self.pods[removal.item["metadata"]["name"]]
                pod["metadata"]["deletionTimestamp"] = "2026-01-31T12:00:00Z"
                pod["metadata"]["deletionGracePeriodSeconds"] = 30
        for creation in outcome.creations:
            pod = kept(creation.item)
            pod["spec"]["nodeName"] = "here"
            self.pods[pod["metadata"]["name"]] = pod
        return outcome

    def settle(self, now: datetime = NOW) -> None:
        """Look until there is nothing more to do; what is being deleted ends meanwhile."""
        for _ in range(10):
            before = self.job.get("status")
            outcome = self.look(now)
            self.reap()
            acted = outcome.removals or outcome.creations or outcome.updates
            if not acted and self.job["status"] == before:
                return
        raise AssertionError("it does not settle")

    def reap(self) -> None:
        for name, pod in list(self.pods.items()):
            if "deletionTimestamp" in pod["metadata"]:
                pod["metadata"]["deletionGracePeriodSeconds"] = 0
                if pod.get("status", {}).get("phase") not in ("Succeeded", "Failed"):
                    pod["status"] = ended(143, "c")
                if not pod["metadata"].get("finalizers"):
                    del self.pods[name]

    def be(self, status: JSONObject, *numbers: int) -> None:
        """Have active pods be so: some, in the order of their making, or all."""
        active = self.active
        for number in numbers or range(len(active)):
            active[number]["status"] = status

    @property
    def active(self) -> list[JSONObject]:
        return [
            pod
            for pod in self.pods.values()
            if pod.get("status", {}).get("phase") not in ("Succeeded", "Failed")
            and "deletionTimestamp" not in pod["metadata"]
        ]

    @property
    def status(self) -> Any:
        return self.job["status"]

    @property
    def true(self) -> set[str]:
        return true(self.job)


def running_world(job: JSONObject) -> World:
    world = World(job)
    world.settle()
    world.be(running(container="c"))
    world.settle()
    return world


def failed(code: int = 1, condition: str = "", at: float = -1000.0) -> JSONObject:
    """The status of a pod that failed long enough ago to be replaced at once."""
    status = ended(code, "c")
    end = later(at).strftime("%Y-%m-%dT%H:%M:%SZ")
    status["containerStatuses"][0]["state"]["terminated"]["finishedAt"] = end
    if condition:
        status["conditions"] = [{"type": condition, "status": "True"}]
    return status


def test_a_job_makes_a_pod_and_is_complete_when_it_has_succeeded() -> None:
    world = World(a_job())
    (pod,) = made(world.look(), "Pod")
    assert pod["metadata"]["generateName"] == "job-"
    assert pod["metadata"]["finalizers"] == [FINALIZER]
    assert (world.status["active"], world.status["startTime"]) == (1, "2026-01-31T12:00:00Z")
    world.be(running(container="c"))
    world.settle()
    assert (world.status["active"], world.status["ready"], world.true) == (1, 1, set())
    world.be(ended(0, "c"))
    world.settle()
    assert world.true == {"SuccessCriteriaMet", "Complete"}
    assert conditions(world.job)["Complete"] == ("True", "CompletionsReached")
    assert (world.status["succeeded"], world.status["uncountedTerminatedPods"]) == (1, {})
    assert world.status["completionTime"]
    assert all(not pod["metadata"]["finalizers"] for pod in world.pods.values())


def test_as_many_run_at_once_as_may_and_as_many_as_are_still_wanted() -> None:
    world = running_world(a_job(completions=5, parallelism=3))
    assert len(world.active) == 3
    world.be(ended(0, "c"), 0, 1)
    world.settle()
    assert (len(world.active), world.status["succeeded"]) == (3, 2)
    world.be(ended(0, "c"), 0)
    world.settle()
    assert (len(world.active), world.status["active"], world.status["succeeded"]) == (2, 2, 3)
    world.job["spec"]["parallelism"] = 1
    world.settle()
    assert len(world.active) == 1
    assert "failed" not in world.status  # what is not wanted any more does not count


def test_without_completions_a_job_is_complete_when_one_has_succeeded_and_all_have_ended() -> None:
    world = running_world(a_job(completions=None, parallelism=2))
    world.be(ended(0, "c"), 0)
    world.settle()
    assert (len(world.active), world.true) == (1, set())
    world.be(ended(0, "c"))
    world.settle()
    assert "Complete" in world.true


def test_the_pods_of_an_indexed_job_know_which_they_are() -> None:
    world = World(indexed(2))
    for number, pod in enumerate(made(world.look(), "Pod")):
        assert pod["metadata"]["generateName"] == f"job-{number}-"
        assert pod["spec"]["hostname"] == f"job-{number}"
        for field in ("labels", "annotations"):
            assert pod["metadata"][field][INDEX] == str(number)
        (variable,) = pod["spec"]["containers"][0]["env"]
        assert variable["name"] == "JOB_COMPLETION_INDEX"
        path = variable["valueFrom"]["fieldRef"]["fieldPath"]
        assert path == "metadata.labels['batch.kubernetes.io/job-completion-index']"


def test_each_index_is_done_once() -> None:
    world = running_world(indexed(4, parallelism=2))
    world.be(ended(0, "c"), 1)
    world.settle()
    assert [pod["metadata"]["annotations"][INDEX] for pod in world.active] == ["0", "2"]
    assert (world.status["completedIndexes"], world.status["succeeded"]) == ("1", 1)
    world.be(failed(), 0)
    world.settle()
    assert sorted(pod["metadata"]["annotations"][INDEX] for pod in world.active) == ["0", "2"]
    while world.active:
        world.be(ended(0, "c"))
        world.settle()
    assert (world.status["completedIndexes"], world.status["failed"]) == ("0-3", 1)
    assert "Complete" in world.true


@pytest.mark.parametrize("limit", [0, 2])
def test_a_job_fails_after_more_failures_than_it_may_have(limit: int) -> None:
    world = running_world(a_job(completions=2, parallelism=2, backoffLimit=limit))
    for _ in range(limit):
        world.be(failed(), 0)
        world.settle()
        assert world.true == set()
    world.be(failed(), 0)
    outcome = world.look()
    assert reasons(outcome) == []
    for _ in range(3):
        assert world.true == {"FailureTarget"}  # until nothing runs any more
        world.look()
    world.reap()
    world.settle()
    assert conditions(world.job)["Failed"] == ("True", "BackoffLimitExceeded")
    assert (
        world.status["conditions"][-1]["message"] == "Job has reached the specified backoff limit"
    )
    assert world.active == []
    assert world.status["failed"] == limit + 2


@pytest.mark.parametrize(
    ("limit", "restarts", "fails"), [(3, 2, False), (3, 3, True), (0, 1, True)]
)
def test_restarts_of_containers_count_where_they_restart(
    limit: int, restarts: int, fails: bool
) -> None:
    world = running_world(a_job("OnFailure", backoffLimit=limit))
    world.be(running(restarts, "c"))
    world.settle()
    assert ("Failed" in world.true) is fails


def test_a_failed_pod_is_replaced_after_a_while_that_doubles() -> None:
    world = running_world(a_job(backoffLimit=6))
    world.be(failed(at=0))
    world.settle(later(1))
    assert (world.active, world.look(later(1)).again_at) == ([], later(10))
    world.settle(later(10))
    world.be(failed(at=20))
    world.settle(later(20))
    assert (world.active, world.look(later(20)).again_at) == ([], later(40))
    assert len(made(world.look(later(40)), "Pod")) == 1


def test_a_rule_fails_the_job_by_an_exit_code() -> None:
    job = a_job(podFailurePolicy={"rules": [FAIL_ON_1]}, podReplacementPolicy="Failed")
    world = running_world(job)
    name = world.active[0]["metadata"]["name"]
    world.be(failed(2))
    world.settle()
    assert conditions(world.job)["Failed"] == ("True", "PodFailurePolicy")
    assert world.status["conditions"][-1]["message"] == (
        f"Container c for pod default/{name} failed with exit code 2 matching FailJob rule at index 0"
    )


@pytest.mark.parametrize(
    ("rule", "status", "counts"),
    [
        (IGNORE_LOSS, failed(143, "DisruptionTarget"), False),
        (IGNORE_LOSS, failed(143), True),
        ({**IGNORE_LOSS, "action": "Count"}, failed(143, "DisruptionTarget"), True),
        (
            {"action": "Ignore", "onExitCodes": {"operator": "NotIn", "values": [1]}},
            failed(137),
            False,
        ),
        (
            {"action": "Ignore", "onExitCodes": {"operator": "NotIn", "values": [1]}},
            failed(1),
            True,
        ),
        (
            {
                "action": "Ignore",
                "onExitCodes": {"containerName": "other", "operator": "In", "values": [1]},
            },
            failed(1),
            True,
        ),
    ],
)
def test_rules_say_which_failures_count(rule: JSONObject, status: JSONObject, counts: bool) -> None:
    policy = {"rules": [rule]}
    world = running_world(a_job(podFailurePolicy=policy, podReplacementPolicy="Failed"))
    world.be(status)
    world.settle()
    assert world.status.get("failed", 0) == int(counts)
    assert len(world.active) == 1


@pytest.mark.parametrize("how", ["time", "annotation"])
def test_a_deadline_fails_the_job(how: str) -> None:
    world = running_world(a_job(activeDeadlineSeconds=60))
    assert world.look(later(59)).again_at == later(60)
    if how == "annotation":
        world.job["metadata"]["annotations"] = {"retort/deadline": "passed"}
    world.settle(later(60 if how == "time" else 1))
    assert conditions(world.job)["Failed"] == ("True", "DeadlineExceeded")
    assert world.pods == {} or not world.active


def test_a_suspended_job_has_no_pods_and_starts_anew() -> None:
    world = running_world(a_job(completions=2, parallelism=2, activeDeadlineSeconds=60))
    world.job["spec"]["suspend"] = True
    outcome = world.look(later(10))
    assert reasons(outcome) == ["Suspended"]
    world.settle(later(10))
    assert conditions(world.job)["Suspended"] == ("True", "JobSuspended")
    assert (world.pods, "startTime" in world.status, "failed" in world.status) == ({}, False, False)
    world.job["spec"]["suspend"] = False
    world.settle(later(100))
    assert conditions(world.job)["Suspended"] == ("False", "JobResumed")
    assert world.status["startTime"] == "2026-01-31T12:01:40Z"
    assert len(world.active) == 2


def test_a_pod_that_someone_deletes_is_replaced_and_counts() -> None:
    world = running_world(a_job())
    world.active[0]["metadata"]["deletionTimestamp"] = "2026-01-31T12:00:00Z"
    world.settle()
    assert (len(world.active), world.status["failed"]) == (1, 1)


def test_a_job_that_waits_for_the_end_of_pods_replaces_them_then() -> None:
    world = running_world(a_job(podReplacementPolicy="Failed"))
    world.active[0]["metadata"] |= {
        "deletionTimestamp": "2026-01-31T12:00:00Z",
        "deletionGracePeriodSeconds": 30,
    }
    outcome = world.look()
    assert (outcome.creations, world.status["terminating"]) == ((), 1)
    world.reap()
    world.settle(later(1000))
    assert (len(world.active), world.status["failed"]) == (1, 1)


def test_a_finished_job_is_deleted_when_its_time_is_over() -> None:
    world = running_world(a_job(ttlSecondsAfterFinished=60))
    world.be(ended(0, "c"))
    world.settle()
    assert world.look(later(59)).again_at == later(60)
    (removal,) = world.look(later(60)).removals
    assert (removal.kind.kind, removal.item["metadata"]["name"]) == ("Job", "job")


def test_a_job_of_another_controller_is_left_alone_and_one_that_goes_frees_its_pods() -> None:
    assert World(a_job(managedBy="example.com/other")).look() == NOTHING
    world = running_world(a_job())
    world.job["metadata"]["deletionTimestamp"] = "2026-01-31T12:00:00Z"
    outcome = world.look()
    assert [pod["metadata"]["finalizers"] for _, pod in outcome.updates] == [[]]
    assert outcome.creations == ()


@given(st.sets(st.integers(0, 40)))
def test_indexes_are_read_as_they_are_written(indexes: set[int]) -> None:
    assert read_indexes(write_indexes(indexes)) == sorted(indexes)


@pytest.mark.parametrize(
    ("indexes", "text"), [(set(), ""), ({0, 1}, "0,1"), ({1, 3, 4, 5, 7}, "1,3-5,7")]
)
def test_indexes_are_written_as_people_know_them(indexes: set[int], text: str) -> None:
    assert write_indexes(indexes) == text


@given(
    spec=st.fixed_dictionaries(
        {
            "completions": st.integers(1, 4),
            "parallelism": st.integers(1, 4),
            "backoffLimit": st.integers(0, 3),
            "completionMode": st.sampled_from(["Indexed", "NonIndexed"]),
            "podReplacementPolicy": st.sampled_from(["Failed", "TerminatingOrFailed"]),
        },
        optional={"podFailurePolicy": st.just({"rules": [IGNORE_LOSS, FAIL_ON_1]})},
    ),
    steps=st.lists(
        st.one_of(
            st.tuples(
                st.integers(0, 3),
                st.sampled_from(
                    [running(container="c"), ended(0, "c"), failed(1), failed(137), None]
                ),
            ),
            st.booleans(),
        ),
        max_size=12,
    ),
)
@settings(deadline=None)
def test_any_sequence_of_ends_counts_each_pod_once_and_settles(spec: Any, steps: list[Any]) -> None:
    world = World(a_job(**spec))
    world.look()
    for step in steps:
        if isinstance(step, bool):
            world.job["spec"]["suspend"] = step
        elif world.active:
            pod = world.active[step[0] % len(world.active)]
            if step[1] is None:
                pod["metadata"]["deletionTimestamp"] = "2026-01-31T12:00:00Z"
            else:
                pod["status"] = step[1]
        world.look(later(10_000))
    world.job["spec"]["suspend"] = False
    for _ in range(10):
        world.settle(later(10_000))
        now = true(world.job)
        assert not {"Complete", "Failed"} <= now
        assert world.status["uncountedTerminatedPods"] == {} or not now
        if now & {"Complete", "Failed"}:
            break
        assert len(world.active) <= spec["parallelism"]
        world.be(ended(0, "c"))
    assert true(world.job) & {"Complete", "Failed"}
    if "Complete" in true(world.job):
        assert world.status["succeeded"] == spec["completions"]
