"""What annotations let happen to pods."""

import os
import signal

from retort.launch.cluster.cluster import Cluster
from retort.launch.cluster.kinds.table import POD, kind_of
from tests.launch.cluster.node.pods import (
    PYTHON,
    a_cluster,
    annotate,
    create,
    ended,
    events,
    here,
    last,
    log,
    phase,
    pod,
    says,
    until,
    waits,
)

SERVICE = kind_of("v1", "Service")
STAYS = "trap 'echo asked; exit 7' TERM; echo here; while :; do sleep 0.05; done"
IGNORES = "trap '' TERM; echo here; while :; do sleep 0.05; done"


cluster = a_cluster()


def test_a_pod_is_killed(cluster: Cluster) -> None:
    here(cluster, pod("struck", IGNORES))
    annotate(cluster, "struck", kill="now")
    item = until(cluster, "struck", ended)
    assert (last(item)["exitCode"], last(item)["reason"]) == (128 + signal.SIGKILL, "Error")
    assert "retort/kill" not in item["metadata"].get("annotations", {})


def test_a_pod_is_evicted_and_nothing_is_known_of_its_containers(cluster: Cluster) -> None:
    here(cluster, pod("evicted", IGNORES))
    annotate(cluster, "evicted", evict="now")
    item = until(cluster, "evicted", ended)
    assert (item["status"]["phase"], item["status"]["reason"]) == ("Failed", "Evicted")
    assert "containerStatuses" not in item["status"]
    assert "Evicted" in events(cluster, "evicted")


def test_a_machine_that_is_taken_away_asks_its_pods_to_end(cluster: Cluster) -> None:
    here(cluster, pod("spot", STAYS, terminationGracePeriodSeconds=600))
    annotate(cluster, "spot", preempt="now")
    item = until(cluster, "spot", ended)
    assert (item["status"]["phase"], item["status"]["reason"]) == ("Failed", "Terminated")
    assert last(item)["exitCode"] == 7


def test_a_link_is_cut_and_mended(cluster: Cluster) -> None:
    spec = {"clusterIP": "None", "selector": {"app": "server"}, "ports": [{"port": 8000}]}
    cluster.registry.create(SERVICE, "default", {"metadata": {"name": "server"}, "spec": spec})
    serving = "exec python3 -m http.server 8000 --directory /etc"
    create(cluster, pod("server", serving, metadata={"labels": {"app": "server"}}))
    asks = """
import socket, time
state = ""
while True:
    try:
        socket.create_connection(("server", 8000), 0.2).close()
        new = "up"
    except OSError:
        new = "down"
    if new != state:
        print("here", new, flush=True)
    state = new
    time.sleep(0.02)
"""
    asker = here(cluster, pod("asker", asks, PYTHON))
    for said, note in (("here up", "down"), ("here down", ""), ("here up", "")):
        while not log(cluster, asker).endswith(f"{said}\n"):
            os.sched_yield()
        annotate(cluster, "server", link=note)


def test_a_start_is_held(cluster: Cluster) -> None:
    create(cluster, pod("held", "echo here", metadata={"annotations": {"retort/start": "held"}}))
    create(cluster, pod("other", "echo here"))
    until(cluster, "other", ended)
    item = cluster.registry.get(POD, "default", "held")
    assert waits(item) in ("", "ContainerCreating")
    assert not says(cluster, item, "here")
    annotate(cluster, "held", start="")
    until(cluster, "held", phase("Succeeded"))
