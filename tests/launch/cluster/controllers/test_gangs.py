"""Jobs whose pods start all or none: what the operator makes of them, and the scheduler at work."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from retort.launch.cluster.controllers.scheduling.node import Node
from retort.launch.cluster.controllers.scheduling.pod_groups import (
    GROUP_NAME,
    POD_GROUP,
    gangs,
    refusal,
    reserved,
)
from retort.launch.cluster.kinds.errors import JSONObject
from retort.launch.cluster.kinds.table import POD
from retort.launch.cluster.objects.deletion import Deletion, delete
from tests.launch.cluster.controllers.objects import ended, kept, made, reasons, removed
from tests.launch.cluster.controllers.playing import NODE, PYTORCHJOB, Play, playing
from tests.launch.cluster.controllers.pytorchjobs import World, a_job


def asking(job: JSONObject, **amounts: str) -> JSONObject:
    for replica in job["spec"]["pytorchReplicaSpecs"].values():
        for container in replica["template"]["spec"]["containers"]:
            container["resources"] = {"requests": amounts}
    return job


def of_group(pod: JSONObject) -> tuple[str | None, str | None]:
    annotations = pod["metadata"].get("annotations") or {}
    return annotations.get(GROUP_NAME), pod["spec"].get("schedulerName")


def let_in(world: World) -> None:
    world.groups["job"]["status"] = {"phase": "Inqueue"}


@pytest.mark.parametrize(
    ("policy", "spec"),
    [
        ({}, {"minMember": 3, "queue": "default", "minResources": {"cpu": "4.5"}}),
        (
            {"minAvailable": 2, "queue": "gold", "priorityClass": "high"},
            {
                "minMember": 2,
                "queue": "gold",
                "minResources": {"cpu": "3"},
                "priorityClassName": "high",
            },
        ),
        (
            {"minResources": {"nvidia.com/gpu": "8"}},
            {"minMember": 3, "queue": "default", "minResources": {"nvidia.com/gpu": "8"}},
        ),
    ],
)
def test_a_job_has_a_group_of_all_its_pods_or_as_many_as_it_says(
    policy: JSONObject, spec: JSONObject
) -> None:
    job = a_job(2, master=True, policy={"schedulingPolicy": policy} if policy else {})
    world = World(asking(job, cpu="1500m"), gangs=True)
    outcome = world.look()
    assert [one["spec"] for one in made(outcome, "PodGroup")] == [spec]
    assert not made(outcome, "Pod")  # they wait until the scheduler has let the group in
    assert not made(world.look(), "Pod")
    let_in(world)
    pods = made(world.look(), "Pod")
    assert [of_group(one) for one in pods] == [("job", "volcano")] * 3
    assert [one["metadata"]["annotations"]["volcano.sh/task-spec"] for one in pods] == [
        *("master", "worker", "worker")
    ]


def test_a_scheduler_of_the_users_own_is_kept_with_a_warning() -> None:
    job = a_job(1)
    job["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]["spec"]["schedulerName"] = "mine"
    world = World(job, gangs=True)
    world.look()
    let_in(world)
    outcome = world.look()
    assert "SetPodTemplateSchedulerName" in reasons(outcome)
    assert [of_group(one) for one in made(outcome, "Pod")] == [("job", "mine")]


def test_without_gang_scheduling_there_is_no_group() -> None:
    outcome = World(a_job(1)).look()
    assert not made(outcome, "PodGroup")
    assert [of_group(one) for one in made(outcome, "Pod")] == [(None, None)]


def test_a_group_follows_its_job_and_goes_with_its_pods() -> None:
    world = World(a_job(2), gangs=True)
    world.look()
    world.job["spec"]["pytorchReplicaSpecs"]["Worker"]["replicas"] = 3
    world.look()
    assert world.groups["job"]["spec"]["minMember"] == 3
    let_in(world)
    world.settle()
    assert world.groups["job"]["status"] == {"phase": "Inqueue"}
    world.job["spec"]["runPolicy"] = {"suspend": True}
    assert removed(world.look(), "PodGroup") == ["job"]
    world.job["spec"]["runPolicy"] = {}
    world.settle()
    let_in(world)
    world.settle()
    world.be(ended(0))
    world.look()
    assert removed(world.look(), "PodGroup") == ["job"]
    assert not world.groups


def a_group(phase: str, least: Any, **resources: str) -> JSONObject:
    spec = {"minMember": least, "minResources": resources}
    item = {"metadata": {"name": "job"}, "spec": spec, "status": {"phase": phase}}
    return kept(item)


def a_pod(name: str, group: str = "job", scheduler: str = "volcano", **spec: Any) -> JSONObject:
    container = {"name": "c", "image": "x:1", "resources": {"requests": {"cpu": "1"}}}
    metadata: JSONObject = {"name": name, "annotations": {GROUP_NAME: group}}
    item: JSONObject = {"containers": [container], "schedulerName": scheduler, **spec}
    return kept({"metadata": metadata, "spec": item, "status": {"phase": "Pending"}})


def test_pods_are_together_that_name_a_group_which_is_there() -> None:
    waiting = [a_pod("a"), a_pod("b", "none"), a_pod("c", scheduler="other"), a_pod("d")]
    placed = [a_pod("e", nodeName="here"), a_pod("f", nodeName="here", scheduler="other")]
    found = gangs(waiting, [a_group("Inqueue", 4)], [*waiting, *placed])
    named = [([one["metadata"]["name"] for one in members], least) for members, least in found]
    assert named == [(["a", "d"], 3), (["b"], 1), (["c"], 1)]


def test_what_a_group_was_let_in_for_is_kept_for_it() -> None:
    groups = [a_group("Inqueue", 3, cpu="3"), a_group("Pending", 9, cpu="9")]
    assert reserved(groups, [])["cpu"] == 3
    assert reserved(groups, [a_pod("e", nodeName="here"), a_pod("a")])["cpu"] == 2
    full = a_group("Pending", 1, cpu="5", memory="1Gi")
    assert refusal(Node("here", {"cpu": "4", "memory": "2Gi"}), {}, full) == (
        "resource in cluster is overused: Insufficient cpu"
    )


@pytest.mark.parametrize("least", ["many", None, [], {"cpu": 1}])
def test_a_group_that_makes_no_sense_keeps_no_other_pod_waiting(least: object) -> None:
    group = a_group("Inqueue", least, cpu="a lot")
    assert not reserved([group], [])
    assert "a lot" in refusal(NODE, {}, group)
    ((members, needed),) = gangs([a_pod("a")], [group], [])
    assert (len(members), needed) == (1, 1)


@pytest.fixture
def play(tmp_path: Path) -> Iterator[Play]:
    with playing(tmp_path, gangs=True) as one:
        yield one


def job_called(name: str, workers: int) -> JSONObject:
    item = asking(a_job(workers, restarts="ExitCode"), cpu="1")
    return {"metadata": {"name": name}, "spec": item["spec"]}


def of_job(play: Play, name: str) -> list[JSONObject]:
    return [one for key, one in play.all(POD).items() if key.startswith(f"{name}-")]


def phase_is(phase: str) -> Any:
    return lambda group: (group.get("status") or {}).get("phase") == phase


def test_two_jobs_that_have_no_room_together_run_one_after_another(play: Play) -> None:
    """Each wants 3 of 4 cores: without gangs, the second would have one pod that holds a core and waits."""
    play.make(PYTORCHJOB, job_called("first", 3))
    play.wait_for(POD_GROUP, "first", phase_is("Running"))
    play.make(PYTORCHJOB, job_called("second", 3))
    said = play.wait_event("second", "Unschedulable")
    assert said == "resource in cluster is overused: Insufficient cpu"
    assert not of_job(play, "second")
    for pod in of_job(play, "first"):
        play.be(pod["metadata"]["name"], ended(0))
    play.wait_for(POD_GROUP, "second", phase_is("Running"))
    assert all(one["spec"]["nodeName"] for one in of_job(play, "second"))
    assert len(of_job(play, "second")) == 3


def test_pods_of_a_group_that_cannot_all_be_placed_have_no_node(play: Play) -> None:
    play.make(POD_GROUP, {"metadata": {"name": "pair"}, "spec": {"minMember": 2}})
    pod = a_pod("one", "pair")
    play.make(POD, {"metadata": {"name": "one", **annotated(pod)}, "spec": pod["spec"]})
    assert play.wait_event("one", "FailedScheduling") == (
        "pod group is not ready, 1 Pending, 2 minAvailable"
    )
    play.make(POD, {"metadata": {"name": "two", **annotated(pod)}, "spec": pod["spec"]})
    play.placed(2)
    delete(play.registry, POD, "default", "two", Deletion(grace_s=0))
    play.make(POD, {"metadata": {"name": "three", **annotated(pod)}, "spec": pod["spec"]})
    play.placed(2)  # one that comes later joins those that run


def annotated(pod: JSONObject) -> JSONObject:
    return {"annotations": pod["metadata"]["annotations"]}
