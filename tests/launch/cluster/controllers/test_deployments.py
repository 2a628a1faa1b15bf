"""Deployments and ReplicaSets: how pods are replaced, and what is said of it."""

import copy
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retort.launch.cluster.controllers.deployments.plan import HASH, REVISION, plan
from retort.launch.cluster.controllers.deployments.replicas import plan_replicas
from retort.launch.cluster.controllers.deployments.rollout import scales
from retort.launch.cluster.controllers.frame.outcome import Outcome
from retort.launch.cluster.kinds.errors import JSONObject
from tests.launch.cluster.controllers.objects import (
    NOW,
    conditions,
    ended,
    kept,
    later,
    made,
    removed,
    running,
)

READY = running(container="web")


def a_deployment(replicas: int = 3, image: str = "x:1", **spec: Any) -> JSONObject:
    template = {
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "web", "image": image}]},
    }
    rolling = {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"},
    }
    spec = {
        "replicas": replicas,
        "selector": {"matchLabels": {"app": "web"}},
        "template": template,
        "strategy": rolling,
        **spec,
    }
    return kept({"metadata": {"name": "web", "generation": 1}, "spec": spec})


class World:
    """A Deployment, its ReplicaSets and their pods. Pods are as ready as the test makes them."""

    def __init__(self, item: JSONObject) -> None:
        self.item = item
        self.sets: dict[str, JSONObject] = {}
        self.pods: dict[str, JSONObject] = {}
        self.said: list[str] = []

    def look(self, now: datetime = NOW) -> Outcome:
        sets = list(self.sets.values())
        outcome = plan(self.item, sets, list(self.pods.values()), now)
        self.item["status"] = outcome.status
        self.item["metadata"].setdefault("annotations", {}).update(outcome.annotations or {})
        for _, changed in outcome.updates:
            self.sets[changed["metadata"]["name"]] = copy.deepcopy(changed)
        for name in removed(outcome, "ReplicaSet"):
            del self.sets[name]
        for one in made(outcome, "ReplicaSet"):
            self.sets[one["metadata"]["name"]] = kept(one)
        self.said += [one.message for one in outcome.events]
        for one in self.sets.values():
            self._replicate(one, now)
        return outcome

    def _replicate(self, one: JSONObject, now: datetime) -> None:
        for _ in range(2):  # once to act, once to see
            mine = [pod for pod in self.pods.values() if _owner(pod) == one["metadata"]["name"]]
            outcome = plan_replicas(one, mine, now)
            one["status"] = outcome.status
            for name in removed(outcome, "Pod"):
                del self.pods[name]
            for pod in made(outcome, "Pod"):
                new = kept(pod)
                self.pods[new["metadata"]["name"]] = new

    def ready(self) -> None:
        """All pods serve."""
        for pod in self.pods.values():
            pod["status"] = READY

    def roll(self, least: int, most: int) -> None:
        """Go on until nothing changes, with all pods ready each time; never fewer or more serve than may."""
        for _ in range(50):
            before = copy.deepcopy((self.item["status"], self.sets))
            self.look()
            assert self.serving >= least
            assert len(self.pods) <= most
            self.ready()
            if before == (self.item["status"], self.sets):
                return
        raise AssertionError("it does not settle")

    def image(self, image: str) -> None:
        """What a user changes."""
        self.item["spec"]["template"]["spec"]["containers"][0]["image"] = image

    @property
    def serving(self) -> int:
        return sum(pod.get("status") == READY for pod in self.pods.values())

    @property
    def sizes(self) -> list[int]:
        """Of the ReplicaSets, by age."""
        found = sorted(
            self.sets.values(), key=lambda one: int(one["metadata"]["annotations"][REVISION])
        )
        return [one["spec"]["replicas"] for one in found]


def _owner(pod: JSONObject) -> str:
    return str(pod["metadata"]["ownerReferences"][0]["name"])


def rolled_out(item: JSONObject) -> World:
    world = World(item)
    world.look()
    world.ready()
    world.roll(0, 100)
    return world


def test_a_deployment_makes_a_replica_set_with_its_pods() -> None:
    world = World(a_deployment())
    (new,) = made(world.look(), "ReplicaSet")
    digest = new["metadata"]["labels"][HASH]
    assert new["metadata"]["name"] == f"web-{digest}"
    assert new["spec"]["selector"]["matchLabels"] == {"app": "web", HASH: digest}
    assert new["spec"]["template"]["metadata"]["labels"] == {"app": "web", HASH: digest}
    assert world.said == [f"Scaled up replica set web-{digest} from 0 to 3"]
    assert world.item["metadata"]["annotations"][REVISION] == "1"
    assert len(world.pods) == 3
    assert conditions(world.item)["Progressing"] == ("True", "NewReplicaSetCreated")
    assert conditions(world.item)["Available"] == ("False", "MinimumReplicasUnavailable")
    world.ready()
    world.roll(0, 3)
    assert conditions(world.item) == {
        "Available": ("True", "MinimumReplicasAvailable"),
        "Progressing": ("True", "NewReplicaSetAvailable"),
    }
    assert world.item["status"] | {"conditions": []} == {
        "replicas": 3,
        "updatedReplicas": 3,
        "readyReplicas": 3,
        "availableReplicas": 3,
        "observedGeneration": 1,
        "conditions": [],
    }


@pytest.mark.parametrize(
    ("surge", "unavailable", "least", "most"),
    [("25%", "25%", 3, 5), (1, 0, 4, 5), (0, 1, 3, 4), ("100%", "0%", 4, 8), (0, 0, 3, 4)],
)
def test_a_new_template_replaces_pods_within_its_limits(
    surge: object, unavailable: object, least: int, most: int
) -> None:
    rolling = {"maxSurge": surge, "maxUnavailable": unavailable}
    world = rolled_out(
        a_deployment(4, strategy={"type": "RollingUpdate", "rollingUpdate": rolling})
    )
    world.image("x:2")
    world.roll(least, most)
    assert world.sizes == [0, 4]
    assert world.item["metadata"]["annotations"][REVISION] == "2"
    images = {pod["spec"]["containers"][0]["image"] for pod in world.pods.values()}
    assert images == {"x:2"}
    assert conditions(world.item)["Progressing"] == ("True", "NewReplicaSetAvailable")


def test_new_pods_that_are_never_ready_leave_the_old_ones_serving() -> None:
    world = rolled_out(a_deployment(4, progressDeadlineSeconds=60))
    old = set(world.pods)
    world.image("x:2")
    for _ in range(10):
        world.look()
    assert len(old & set(world.pods)) == 3
    assert world.look(later(59)).again_at == later(60)
    world.look(later(60))
    assert conditions(world.item)["Progressing"] == ("False", "ProgressDeadlineExceeded")
    assert conditions(world.item)["Available"] == ("True", "MinimumReplicasAvailable")


def test_old_pods_that_do_not_serve_are_given_up_only_as_far_as_may_be() -> None:
    def a_set(name: str, replicas: int, available: int) -> JSONObject:
        item = {"metadata": {"name": name}, "spec": {"replicas": replicas}}
        return kept({**item, "status": {"availableReplicas": available}})

    rolling = {"maxSurge": 0, "maxUnavailable": 1}
    spec = {"replicas": 3, "strategy": {"type": "RollingUpdate", "rollingUpdate": rolling}}
    old = [a_set("a", 1, 0), a_set("b", 1, 0)]
    assert scales(spec, a_set("new", 1, 1), old, 2) == {"a": 0}


def test_recreate_waits_for_the_end_of_all_old_pods() -> None:
    world = rolled_out(a_deployment(2, strategy={"type": "Recreate"}))
    going = next(iter(world.pods.values()))
    world.image("x:2")
    world.look()
    assert world.sizes == [0]
    going["metadata"]["deletionTimestamp"] = "2026-01-31T12:00:00Z"
    world.pods["going"] = going
    world.look()
    assert world.sizes == [0]
    del world.pods["going"]
    world.look()
    assert world.sizes == [0, 2]


def test_going_back_takes_up_the_old_replica_set_with_a_new_revision() -> None:
    world = rolled_out(a_deployment(2))
    (first,) = world.sets
    world.image("x:2")
    world.roll(0, 10)
    world.image("x:1")
    world.roll(0, 10)
    assert len(world.sets) == 2
    assert world.sets[first]["metadata"]["annotations"][REVISION] == "3"
    assert (world.sizes, world.item["metadata"]["annotations"][REVISION]) == ([0, 2], "3")


def test_scaling_changes_the_present_pods_alone() -> None:
    world = rolled_out(a_deployment(1))
    for number in (4, 0, 2):
        world.item["spec"]["replicas"] = number
        world.roll(0, 10)
        assert (len(world.pods), world.sizes) == (number, [number])
    assert len(world.sets) == 1


def test_a_paused_deployment_rolls_nothing_out() -> None:
    world = rolled_out(a_deployment(2))
    world.item["spec"]["paused"] = True
    world.image("x:2")
    world.look()
    assert len(world.sets) == 1
    world.item["spec"]["replicas"] = 3
    world.look()
    assert world.sizes == [3]
    world.item["spec"]["paused"] = False
    world.roll(0, 10)
    assert world.sizes == [0, 3]


def test_only_so_many_old_replica_sets_are_kept() -> None:
    world = rolled_out(a_deployment(1, revisionHistoryLimit=2))
    for number in range(2, 7):
        world.image(f"x:{number}")
        world.roll(0, 10)
    assert world.sizes == [0, 0, 1]


def test_a_pod_that_is_gone_or_has_ended_is_replaced() -> None:
    world = rolled_out(a_deployment(3))
    names = list(world.pods)
    del world.pods[names[0]]
    world.pods[names[1]]["status"] = ended(1, "web")
    world.roll(0, 10)
    assert world.serving == 3
    assert conditions(world.item)["Progressing"] == ("True", "NewReplicaSetAvailable")


def test_a_pod_is_available_when_it_was_ready_for_a_while() -> None:
    world = World(a_deployment(1, minReadySeconds=30))
    world.look()
    world.ready()
    (one,) = world.sets.values()
    pods = list(world.pods.values())
    early = plan_replicas(one, pods, later(29))
    assert (early.status or {}).get("availableReplicas") is None
    assert early.again_at == later(30)
    assert (plan_replicas(one, pods, later(30)).status or {})["availableReplicas"] == 1


def test_the_pods_that_serve_least_are_given_up_first() -> None:
    world = rolled_out(a_deployment(3))
    names = list(world.pods)
    world.pods[names[1]]["status"] = {"phase": "Pending"}
    world.item["spec"]["replicas"] = 2
    world.look()
    assert set(world.pods) == {names[0], names[2]}


@given(
    replicas=st.integers(0, 6),
    surge=st.one_of(st.integers(0, 3), st.sampled_from(["0%", "25%", "100%"])),
    unavailable=st.one_of(st.integers(0, 3), st.sampled_from(["0%", "25%", "100%"])),
    images=st.lists(st.sampled_from(["x:1", "x:2", "x:3"]), max_size=4),
    steps=st.integers(0, 3),
)
@settings(deadline=None)
def test_any_changes_in_the_middle_of_others_end_with_the_last(
    *, replicas: int, surge: object, unavailable: object, images: list[str], steps: int
) -> None:
    rolling = {"maxSurge": surge, "maxUnavailable": unavailable}
    strategy = {"type": "RollingUpdate", "rollingUpdate": rolling}
    world = rolled_out(a_deployment(replicas, strategy=strategy))
    for image in images:
        world.image(image)
        for _ in range(steps):
            world.look()
            world.ready()
    world.roll(0, 100)
    assert sum(world.sizes) == world.serving == len(world.pods) == replicas
    wanted = images[-1] if images else "x:1"
    assert all(pod["spec"]["containers"][0]["image"] == wanted for pod in world.pods.values())
    assert conditions(world.item)["Available"][0] == "True"
    assert conditions(world.item)["Progressing"][1] == "NewReplicaSetAvailable"
