"""What pods wait for, and how they find each other."""

from pathlib import Path

import pytest

from retort.core.errors import UserError
from retort.launch.cluster.cluster import Cluster
from retort.launch.cluster.kinds.table import EVENT, kind_of
from retort.launch.cluster.node.network.names import is_ready
from retort.launch.cluster.serving.serving import bind
from retort.launch.cluster.workloads import WorkloadOptions
from tests.launch.cluster.node.pods import (
    PYTHON,
    a_cluster,
    container,
    create,
    ended,
    last,
    log,
    phase,
    pod,
    ran,
    until,
    waits,
)

CONFIG_MAP = kind_of("v1", "ConfigMap")
SERVICE = kind_of("v1", "Service")


cluster = a_cluster()


def test_a_pod_waits_for_what_it_names(cluster: Cluster) -> None:
    reference = {"configMapKeyRef": {"name": "later", "key": "word"}}
    given = {"env": [{"name": "WORD", "valueFrom": reference}]}
    create(cluster, pod("waiting", "echo $WORD", container=given))
    item = until(cluster, "waiting", lambda it: waits(it) == "CreateContainerConfigError")
    assert container(item)["state"]["waiting"]["message"] == 'configmap "later" not found'
    cluster.registry.create(
        CONFIG_MAP, "default", {"metadata": {"name": "later"}, "data": {"word": "come"}}
    )
    assert log(cluster, until(cluster, "waiting", ended)) == "come\n"


def test_a_pod_waits_for_its_volumes(cluster: Cluster) -> None:
    volumes = [{"name": "late", "configMap": {"name": "later"}}]
    given = {"volumeMounts": [{"name": "late", "mountPath": "/late"}]}
    with cluster.registry.watch(EVENT) as watch:
        create(cluster, pod("waiting", "cat /late/word", volumes=volumes, container=given))
        said = next(one.item["message"] for one in watch if one.item["reason"] == "FailedMount")
    assert said == 'MountVolume.SetUp failed for volume "late" : configmap "later" not found'
    cluster.registry.create(
        CONFIG_MAP, "default", {"metadata": {"name": "later"}, "data": {"word": "come"}}
    )
    assert log(cluster, until(cluster, "waiting", ended)) == "come\n"


def test_an_image_that_is_not_there_is_named(cluster: Cluster) -> None:
    create(cluster, pod("pulling", "", image="local/other:1"))
    item = until(cluster, "pulling", lambda it: waits(it) == "ErrImagePull")
    message = container(item)["state"]["waiting"]["message"]
    assert message.startswith('failed to pull image "local/other:1": not found; name its layout')
    assert item["status"]["phase"] == "Pending"


def test_who_must_not_be_root_is_not(cluster: Cluster) -> None:
    context = {"runAsNonRoot": True, "runAsUser": 0}
    create(cluster, pod("root", "id -u", securityContext=context))
    item = until(cluster, "root", lambda it: waits(it) == "CreateContainerConfigError")
    message = container(item)["state"]["waiting"]["message"]
    assert message == "container has runAsNonRoot and image will run as root"


def test_memory_over_the_limit_ends_a_container(cluster: Cluster) -> None:
    given = {"resources": {"limits": {"memory": "64Mi"}}}
    item = ran(cluster, pod("big", "print(len(b'1' * (256 << 20)))", PYTHON, container=given))
    if item["status"]["phase"] == "Succeeded":
        pytest.skip("this user may not make control groups")
    assert (last(item)["exitCode"], last(item)["reason"]) == (137, "OOMKilled")


def test_pods_find_each_other_by_the_names_of_services(cluster: Cluster) -> None:
    ports = [{"port": 8000}]
    spec = {"clusterIP": "None", "selector": {"app": "server"}, "ports": ports}
    cluster.registry.create(SERVICE, "default", {"metadata": {"name": "server"}, "spec": spec})
    serving = "exec python3 -m http.server 8000 --directory /etc"
    create(cluster, pod("first", serving, metadata={"labels": {"app": "server"}}))
    until(cluster, "first", phase("Running"))
    asks = """
import time, urllib.request
for name in ("server", "server.default.svc.cluster.local"):
    while True:
        try:
            urllib.request.urlopen(f"http://{name}:8000/hosts").read()
            break
        except OSError as error:
            print(error)
            time.sleep(0.1)
"""
    assert ran(cluster, pod("second", asks, PYTHON))["status"]["phase"] == "Succeeded"


def test_a_name_that_nobody_has_is_refused_at_once_by_the_pod_itself(cluster: Cluster) -> None:
    script = """
import socket
print(open("/etc/resolv.conf").read().split()[-4:])
try:
    socket.getaddrinfo("nobody.example", 80)
except socket.gaierror as error:
    print("refused")
"""
    said = log(cluster, ran(cluster, pod("asker", script, PYTHON)))
    assert said == "['127.0.0.1', 'options', 'timeout:1', 'attempts:1']\nrefused\n"


def test_a_service_with_an_address_leads_to_each_ready_pod_in_turn(cluster: Cluster) -> None:
    ports = [{"port": 80, "targetPort": "web"}]
    spec = {"selector": {"app": "server"}, "ports": ports}
    cluster.registry.create(SERVICE, "default", {"metadata": {"name": "web"}, "spec": spec})
    script = "mkdir /tmp/w; hostname > /tmp/w/name; exec python3 -m http.server 8000 -d /tmp/w"
    asked = {"httpGet": {"path": "/name", "port": "web"}, "periodSeconds": 1}
    given = {"ports": [{"name": "web", "containerPort": 8000}], "readinessProbe": asked}
    for name in ("one", "two"):
        labels = {"labels": {"app": "server"}}
        create(cluster, pod(name, script, metadata=labels, container=given))
    for name in ("one", "two"):
        until(cluster, name, is_ready)
    asks = """
import time, urllib.request
found = set()
while len(found) < 2:
    try:
        found.add(urllib.request.urlopen("http://web/name").read().decode().strip())
    except OSError as error:
        time.sleep(0.1)
print(sorted(found))
"""
    assert log(cluster, ran(cluster, pod("asker", asks, PYTHON))) == "['one', 'two']\n"


def test_images_must_be_layouts_or_programs(tmp_path: Path) -> None:
    words = r"--image a=.*: neither the directory of an OCI layout"
    options = WorkloadOptions({"a": tmp_path / "absent"})
    with pytest.raises(UserError, match=words):
        Cluster(tmp_path / "cluster", bind("127.0.0.1", 0), workloads=options)
