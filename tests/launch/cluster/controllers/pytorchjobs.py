"""PyTorchJobs, and a world in which what is planned for one is done at once."""

from datetime import datetime
from typing import Any

from retort.launch.cluster.controllers.frame.outcome import Outcome
from retort.launch.cluster.controllers.pytorchjob.gang import Gang
from retort.launch.cluster.controllers.pytorchjob.plan import plan
from retort.launch.cluster.kinds.errors import JSONObject
from tests.launch.cluster.controllers.objects import NOW, kept, running, true


def replica(number: int = 1, port: int | None = None, **more: Any) -> JSONObject:
    container: JSONObject = {"name": "pytorch", "image": "x:1"}
    if port is not None:
        container["ports"] = [{"name": "pytorchjob-port", "containerPort": port}]
    return {"replicas": number, "template": {"spec": {"containers": [container]}}, **more}


def a_job(
    workers: int = 0,
    master: bool = False,
    port: int | None = None,
    policy: JSONObject | None = None,
    restarts: str = "OnFailure",
    **spec: Any,
) -> JSONObject:
    replicas = {"Master": replica(1, port, restartPolicy=restarts)} if master else {}
    if workers:
        replicas["Worker"] = replica(workers, port, restartPolicy=restarts)
    spec = {"runPolicy": policy or {}, "pytorchReplicaSpecs": replicas, **spec}
    return kept({"metadata": {"name": "job"}, "spec": spec})


class World:
    """A job, and the pods, services and groups that came of it."""

    def __init__(self, job: JSONObject, gangs: bool = False) -> None:
        self.job = job
        self.gangs = gangs
        self.groups: dict[str, JSONObject] = {}
        self.pods: dict[str, JSONObject] = {}
        self.services: dict[str, JSONObject] = {}

    def look(self, now: datetime = NOW) -> Outcome:
        """What is planned, and done."""
        pods, services = list(self.pods.values()), list(self.services.values())
        gang = Gang(self.gangs, list(self.groups.values()))
        outcome = plan(self.job, pods, services, now, gang)
        if outcome.status is not None:
            self.job["status"] = outcome.status
        places = {"Pod": self.pods, "Service": self.services, "PodGroup": self.groups}
        for _, group in outcome.updates:
            self.groups[group["metadata"]["name"]] = group
        for removal in outcome.removals:
            places.get(removal.kind.kind, {}).pop(removal.item["metadata"]["name"], None)
        for creation in outcome.creations:
            item = kept(creation.item)
            places[creation.kind.kind][item["metadata"]["name"]] = item
        return outcome

    def settle(self, now: datetime = NOW) -> None:
        """Look until there is nothing more to do."""
        for _ in range(10):
            before = self.job.get("status")
            outcome = self.look(now)
            if not outcome.removals and not outcome.creations and self.job["status"] == before:
                return
        raise AssertionError("it does not settle")

    def be(self, status: JSONObject, *names: str) -> None:
        """Have pods, or all of them, be so."""
        for name in names or tuple(self.pods):
            self.pods[name]["status"] = status

    @property
    def true(self) -> set[str]:
        return true(self.job)


def running_world(job: JSONObject) -> World:
    world = World(job)
    world.look()
    world.be(running())
    world.settle()
    return world
