"""Whether a container is ready, has started, and lives, as its probes find it."""

from typing import Any

import pytest

from retort.launch.cluster.cluster import Cluster
from retort.launch.cluster.kinds.table import EVENT
from retort.launch.cluster.node.network.names import is_ready
from tests.launch.cluster.node.pods import (
    Object,
    a_cluster,
    container,
    create,
    phase,
    pod,
    restarts,
    until,
)

_FAST: Object = {"periodSeconds": 1, "timeoutSeconds": 60, "failureThreshold": 1}
SERVES = "echo ok > /tmp/ready; exec python3 -m http.server 8000 --directory /tmp"
EMPTY = "exec python3 -m http.server 8000 --directory /tmp"


cluster = a_cluster()


def _probed(name: str, script: str, **probes: Object) -> Object:
    given = {key: {**_FAST, **probe} for key, probe in probes.items()}
    return pod(name, script, container={"ports": [{"name": "web", "containerPort": 8000}], **given})


@pytest.mark.parametrize(
    "asked",
    [
        {"httpGet": {"path": "/ready", "port": "web"}},
        {"tcpSocket": {"port": 8000}},
        {"exec": {"command": ["test", "-e", "/tmp/ready"]}},
    ],
)
def test_a_container_is_ready_when_its_probe_says_so(cluster: Cluster, asked: Object) -> None:
    create(cluster, _probed("server", SERVES, readinessProbe=asked))
    until(cluster, "server", is_ready)


def test_a_container_that_is_not_ready_runs_and_its_events_say_why(cluster: Cluster) -> None:
    asked: Object = {"httpGet": {"path": "/ready", "port": 8000}}
    with cluster.registry.watch(EVENT) as watch:
        create(cluster, _probed("server", EMPTY, readinessProbe=asked))
        for event in watch:
            if "statuscode: 404" in event.item["message"]:
                break
    assert event.item["reason"] == "Unhealthy"
    item = until(cluster, "server", phase("Running"))
    assert not is_ready(item)
    assert container(item)["started"]


def test_a_container_that_does_not_live_is_started_again(cluster: Cluster) -> None:
    asked: Object = {"exec": {"command": ["test", "!", "-e", "/kept/ill"]}}
    given: dict[str, Any] = {
        "livenessProbe": {**_FAST, **asked},
        "volumeMounts": [{"name": "kept", "mountPath": "/kept"}],
    }
    script = "trap 'rm /kept/ill; exit 1' TERM; touch /kept/ill; while :; do sleep 0.05; done"
    volumes = [{"name": "kept", "emptyDir": {}}]
    item = pod("ill", script, restartPolicy="Always", volumes=volumes, container=given)
    create(cluster, item)
    again = until(cluster, "ill", lambda it: restarts(it) == 1)
    assert container(again)["lastState"]["terminated"]["exitCode"] == 1


def test_nothing_else_is_asked_before_a_container_has_started(cluster: Cluster) -> None:
    script = "while ! test -e /tmp/go; do sleep 0.05; done; exec sleep infinity"
    startup: Object = {"exec": {"command": ["sh", "-c", "touch /tmp/go"]}}
    live: Object = {"exec": {"command": ["test", "-e", "/tmp/go"]}}
    create(cluster, _probed("slow", script, startupProbe=startup, livenessProbe=live))
    item = until(cluster, "slow", is_ready)
    assert restarts(item) == 0


def test_a_container_that_does_not_start_is_ended(cluster: Cluster) -> None:
    waits = "while ! test -e /tmp/here; do sleep 0.05; done; exit 1"
    asked: Object = {"exec": {"command": ["sh", "-c", waits]}}
    script = "trap 'exit 9' TERM; touch /tmp/here; while :; do sleep 0.05; done"
    create(cluster, _probed("never", script, startupProbe=asked))
    item = until(cluster, "never", phase("Failed"))
    assert container(item)["state"]["terminated"]["exitCode"] == 9
