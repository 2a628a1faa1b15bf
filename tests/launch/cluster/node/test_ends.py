"""How pods end that are deleted, or whose cluster ends."""

import os
from pathlib import Path

from retort.launch.cluster.cluster import Cluster
from retort.launch.cluster.kinds.table import POD
from retort.launch.cluster.objects.deletion import Deletion, delete
from tests.launch.cluster.node.pods import (
    a_cluster,
    acting,
    container,
    ended,
    here,
    last,
    log,
    need_namespaces,
    pod,
    processes,
    ran,
    restarts,
    says,
    until,
    until_gone,
)

STAYS = "trap 'echo asked; exit 7' TERM; echo here; while :; do sleep 0.05; done"
IGNORES = "trap '' TERM; echo here; while :; do sleep 0.05; done"


cluster = a_cluster()


def test_a_pod_that_is_deleted_is_asked_and_has_its_time(cluster: Cluster) -> None:
    item = here(cluster, pod("asked", STAYS, terminationGracePeriodSeconds=600))
    with cluster.registry.watch(POD) as watch:
        delete(cluster.registry, POD, "default", "asked")
        states = []
        for event in watch:
            if event.type == "DELETED":
                break
            states.append(event.item)
    assert last(states[-1])["exitCode"] == 7
    assert item["metadata"]["uid"] == states[-1]["metadata"]["uid"]


def test_a_pod_that_is_deleted_does_what_it_wants_done_before(cluster: Cluster) -> None:
    hook = {"preStop": {"exec": {"command": ["sh", "-c", "echo before > /tmp/word"]}}}
    script = "trap 'cat /tmp/word > /dev/termination-log; exit 7' TERM; echo here; while :; do sleep 0.05; done"
    given = {"lifecycle": hook}
    here(cluster, pod("last", script, terminationGracePeriodSeconds=600, container=given))
    with cluster.registry.watch(POD) as watch:
        delete(cluster.registry, POD, "default", "last")
        states = []
        for event in watch:
            if event.type == "DELETED":
                break
            states.append(event.item)
    assert last(states[-1])["message"] == "before\n"


def test_a_pod_that_does_not_listen_is_ended_when_its_time_is_over(cluster: Cluster) -> None:
    here(cluster, pod("deaf", IGNORES, terminationGracePeriodSeconds=1))
    delete(cluster.registry, POD, "default", "deaf")
    until_gone(cluster, "deaf")


def test_a_pod_that_is_deleted_by_force_leaves_nothing(cluster: Cluster, tmp_path: Path) -> None:
    item = here(cluster, pod("forced", f"echo {tmp_path} > /dev/null; {IGNORES}"))
    before = processes(str(tmp_path))
    assert before
    delete(cluster.registry, POD, "default", "forced", Deletion(grace_s=0))
    while set(before) & set(processes(str(tmp_path))):
        os.sched_yield()
    assert cluster.registry.find(POD, "default", item["metadata"]["name"]) is None


def test_the_end_of_the_cluster_ends_what_runs_and_the_next_one_knows(tmp_path: Path) -> None:
    need_namespaces()
    with acting(tmp_path / "cluster") as cluster:
        here(cluster, pod("lost", f"echo {tmp_path} > /dev/null; {IGNORES}"))
        here(
            cluster, pod("back", f"echo {tmp_path} > /dev/null; {IGNORES}", restartPolicy="Always")
        )
    assert not processes(str(tmp_path))
    with acting(tmp_path / "cluster") as cluster:
        item = until(cluster, "lost", ended)
        assert item["status"]["phase"] == "Failed"
        assert (last(item)["exitCode"], last(item)["reason"]) == (137, "ContainerStatusUnknown")
        again = until(cluster, "back", lambda it: restarts(it) == 1)
        assert container(again)["lastState"]["terminated"]["reason"] == "ContainerStatusUnknown"


def test_the_logs_of_a_pod_go_with_it_and_no_others(cluster: Cluster) -> None:
    first, second = (ran(cluster, pod(name, "echo said")) for name in ("first", "second"))
    delete(cluster.registry, POD, "default", "first")
    while says(cluster, first, "said"):
        os.sched_yield()
    assert log(cluster, second) == "said\n"
