"""Pods as processes: what they see, how they end, and what becomes of them."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from retort.core.errors import UserError
from retort.launch.cluster.cluster import Cluster
from retort.launch.cluster.kinds.table import EVENT, POD, kind_of
from retort.launch.cluster.node.network.names import is_ready
from retort.launch.cluster.objects.deletion import Deletion, delete
from retort.launch.cluster.serving.serving import bind
from retort.launch.cluster.workloads import WorkloadOptions
from tests.launch.cluster.node.pods import (
    PYTHON,
    Object,
    acting,
    annotate,
    container,
    create,
    ended,
    last,
    log,
    need_namespaces,
    phase,
    pod,
    restarts,
    says,
    until,
    until_gone,
    waits,
)

CONFIG_MAP = kind_of("v1", "ConfigMap")
SERVICE = kind_of("v1", "Service")
SLEEPS = "echo here; exec sleep infinity"
STAYS = "trap 'echo asked; exit 7' TERM; echo here; while :; do sleep 0.05; done"
IGNORES = "trap '' TERM; echo here; while :; do sleep 0.05; done"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    need_namespaces()
    with acting(tmp_path / "cluster") as found:
        yield found


def _ran(cluster: Cluster, item: Object) -> Object:
    create(cluster, item)
    return until(cluster, item["metadata"]["name"], ended)


def _here(cluster: Cluster, item: Object) -> Object:
    """A pod whose container has begun to say something."""
    create(cluster, item)
    name = item["metadata"]["name"]
    found = until(cluster, name, lambda it: it["status"].get("phase") == "Running")
    while not says(cluster, found, "here"):
        os.sched_yield()
    return found


def _events(cluster: Cluster, name: str) -> dict[str, str]:
    """Reasons and messages of what has happened to a pod."""
    return {
        item["reason"]: item["message"]
        for item in cluster.registry.list(EVENT).items
        if item["involvedObject"]["name"] == name
    }


def test_a_pod_has_a_root_that_it_cannot_write_and_no_right_of_root(cluster: Cluster) -> None:
    script = """
    id -u; id -g; hostname; echo $$$$; ls -A /tmp
    grep -h -e CapEff -e NoNewPrivs /proc/self/status
    touch /usr/mine /etc/hosts /mine 2>&1; touch /tmp/mine && echo tmp
    df -k --output=size /dev/shm | tail -1
    grep -c : /proc/net/dev
    """
    item = _ran(cluster, pod("seen", script, securityContext={"runAsUser": 65532}))
    lines = log(cluster, item).splitlines()
    assert lines[:4] == ["65532", "65532", "seen", "1"]
    assert lines[4:6] == ["CapEff:\t0000000000000000", "NoNewPrivs:\t1"]
    assert sum("Read-only file system" in line for line in lines) == 3
    assert "tmp" in lines
    assert "65536" in [line.strip() for line in lines]
    assert lines[-1] == "2"  # lo and eth0


def test_a_pod_is_told_what_it_asked_for_by_variables_and_files(cluster: Cluster) -> None:
    cluster.registry.create(
        CONFIG_MAP,
        "default",
        {"metadata": {"name": "settings"}, "data": {"a.txt": "one", "B": "2"}},
    )
    variables = [
        {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "CORES", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
        {"name": "FULL", "value": "$(NAME)-$(B)-$(ABSENT)-$$(NAME)"},
    ]
    given = {
        "env": variables,
        "envFrom": [{"configMapRef": {"name": "settings"}}],
        "args": [
            "-c",
            'echo "$FULL" "$CORES" "$0"; grep "$IP" /etc/hosts; cat /settings/*',
            "$(NAME)",
        ],
        "resources": {"limits": {"cpu": "1500m", "memory": "1Gi"}},
        "volumeMounts": [{"name": "settings", "mountPath": "/settings"}],
    }
    volumes = [{"name": "settings", "configMap": {"name": "settings"}}]
    item = _ran(cluster, pod("told", "", volumes=volumes, container=given))
    said = log(cluster, item).splitlines()
    assert said[0] == "told-2-$(ABSENT)-$(NAME) 2 told"
    assert said[1] == f"{item['status']['podIP']} told"
    assert "".join(said[2:]) == "2one"


def test_variables_are_for_the_pod_alone(cluster: Cluster) -> None:
    given = {"env": [{"name": "TOKEN", "value": "a-word-that-nobody-sees"}]}
    script = "env | cut -d = -f 1 | sort | tr '\\n' ' '; echo; echo here; exec sleep infinity"
    item = _here(cluster, pod("secret", script, container=given))
    names = set(log(cluster, item).splitlines()[0].split())
    # What a shell says of where it is comes from itself.
    assert names - {"OLDPWD", "PWD"} == {"HOME", "LANG", "LOGNAME", "PATH", "TOKEN", "TZ", "USER"}
    assert not _processes("a-word-that-nobody-sees")


@pytest.mark.parametrize(
    ("script", "wanted", "code", "reason"),
    [
        ("echo out; echo err >&2", "Succeeded", 0, "Completed"),
        ("exit 3", "Failed", 3, "Error"),
        ("kill -9 $$$$; sleep 9 & kill -9 $!; wait $!", "Failed", 137, "Error"),
    ],
)
def test_the_exit_code_is_in_the_status(
    cluster: Cluster, script: str, wanted: str, code: int, reason: str
) -> None:
    item = _ran(cluster, pod("coded", script))
    assert item["status"]["phase"] == wanted
    assert (last(item)["exitCode"], last(item)["reason"]) == (code, reason)
    assert {one["type"]: one["status"] for one in item["status"]["conditions"]}["Ready"] == "False"


def test_a_program_that_is_not_there_is_an_error_of_the_start(cluster: Cluster) -> None:
    item = _ran(cluster, pod("absent", "", container={"command": ["no-such-program"]}))
    assert (last(item)["exitCode"], last(item)["reason"]) == (128, "StartError")
    assert "no-such-program" in last(item)["message"]


@pytest.mark.parametrize(
    ("script", "policy", "message"),
    [
        ("echo word > /dev/termination-log; echo said; exit 1", "File", "word\n"),
        ("echo said; exit 1", "File", None),
        ("echo one; echo said >&2; exit 1", "FallbackToLogsOnError", "one\nsaid"),
        ("echo said; exit 0", "FallbackToLogsOnError", None),
    ],
)
def test_the_last_word_is_in_the_status(
    cluster: Cluster, script: str, policy: str, message: str | None
) -> None:
    item = _ran(cluster, pod("word", script, container={"terminationMessagePolicy": policy}))
    assert last(item).get("message") == message


def test_a_container_that_fails_is_started_again_with_a_log_of_its_own(cluster: Cluster) -> None:
    volumes = [{"name": "kept", "emptyDir": {}}]
    given = {"volumeMounts": [{"name": "kept", "mountPath": "/kept"}]}
    script = "test -e /kept/seen && exec echo second; touch /kept/seen; echo first; exit 4"
    item = _ran(
        cluster, pod("again", script, restartPolicy="OnFailure", volumes=volumes, container=given)
    )
    assert item["status"]["phase"] == "Succeeded"
    found = container(item)
    assert found["restartCount"] == 1
    assert found["lastState"]["terminated"]["exitCode"] == 4
    assert [log(cluster, item, number) for number in range(2)] == ["first\n", "second\n"]


def test_a_container_that_fails_at_once_again_and_again_waits(cluster: Cluster) -> None:
    create(cluster, pod("crashing", "exit 1", restartPolicy="Always"))
    item = until(cluster, "crashing", lambda it: waits(it) == "CrashLoopBackOff")
    assert item["status"]["phase"] == "Running"
    assert container(item)["restartCount"] == 1


def test_containers_that_run_first_run_one_after_the_other(cluster: Cluster) -> None:
    mount = {"volumeMounts": [{"name": "kept", "mountPath": "/kept"}]}
    first = [
        {"name": name, "image": "local/shell:1", "args": ["-c", script], **mount}
        for name, script in (("one", "echo 1 > /kept/all"), ("two", "echo 2 >> /kept/all"))
    ]
    volumes = [{"name": "kept", "emptyDir": {}}]
    item = _ran(
        cluster,
        pod("ordered", "cat /kept/all", volumes=volumes, initContainers=first, container=mount),
    )
    assert log(cluster, item) == "1\n2\n"
    assert all(one["ready"] for one in item["status"]["initContainerStatuses"])


def test_a_sidecar_runs_beside_the_others_and_ends_after_them(cluster: Cluster) -> None:
    mount = {"volumeMounts": [{"name": "kept", "mountPath": "/kept"}]}
    side = {
        "name": "side",
        "image": "local/shell:1",
        "args": ["-c", "trap 'exit 0' TERM; while :; do date > /kept/alive; sleep 0.05; done"],
        "restartPolicy": "Always",
        **mount,
    }
    item = pod(
        "beside",
        "while ! test -e /kept/alive; do sleep 0.05; done; echo together; exit 4",
        volumes=[{"name": "kept", "emptyDir": {}}],
        initContainers=[side],
        container=mount,
    )
    found = _ran(cluster, item)
    assert (found["status"]["phase"], last(found)["exitCode"]) == ("Failed", 4)
    assert log(cluster, found) == "together\n"
    (status,) = found["status"]["initContainerStatuses"]
    assert status["state"]["terminated"]["exitCode"] == 0


def test_a_first_container_that_fails_fails_the_pod(cluster: Cluster) -> None:
    first = [{"name": "one", "image": "local/shell:1", "args": ["-c", "exit 5"]}]
    item = _ran(cluster, pod("early", "echo here", initContainers=first))
    assert item["status"]["phase"] == "Failed"
    assert not says(cluster, item, "here")


def test_a_pod_that_is_deleted_is_asked_and_has_its_time(cluster: Cluster) -> None:
    item = _here(cluster, pod("asked", STAYS, terminationGracePeriodSeconds=600))
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
    _here(cluster, pod("last", script, terminationGracePeriodSeconds=600, container=given))
    with cluster.registry.watch(POD) as watch:
        delete(cluster.registry, POD, "default", "last")
        states = []
        for event in watch:
            if event.type == "DELETED":
                break
            states.append(event.item)
    assert last(states[-1])["message"] == "before\n"


def test_a_pod_that_does_not_listen_is_ended_when_its_time_is_over(cluster: Cluster) -> None:
    _here(cluster, pod("deaf", IGNORES, terminationGracePeriodSeconds=1))
    delete(cluster.registry, POD, "default", "deaf")
    until_gone(cluster, "deaf")


def test_a_pod_that_is_deleted_by_force_leaves_nothing(cluster: Cluster, tmp_path: Path) -> None:
    item = _here(cluster, pod("forced", f"echo {tmp_path} > /dev/null; {IGNORES}"))
    before = _processes(str(tmp_path))
    assert before
    delete(cluster.registry, POD, "default", "forced", Deletion(grace_s=0))
    while set(before) & set(_processes(str(tmp_path))):
        os.sched_yield()
    assert cluster.registry.find(POD, "default", item["metadata"]["name"]) is None


def test_the_end_of_the_cluster_ends_what_runs_and_the_next_one_knows(tmp_path: Path) -> None:
    need_namespaces()
    with acting(tmp_path / "cluster") as cluster:
        _here(cluster, pod("lost", f"echo {tmp_path} > /dev/null; {IGNORES}"))
        _here(
            cluster, pod("back", f"echo {tmp_path} > /dev/null; {IGNORES}", restartPolicy="Always")
        )
    assert not _processes(str(tmp_path))
    with acting(tmp_path / "cluster") as cluster:
        item = until(cluster, "lost", ended)
        assert item["status"]["phase"] == "Failed"
        assert (last(item)["exitCode"], last(item)["reason"]) == (137, "ContainerStatusUnknown")
        again = until(cluster, "back", lambda it: restarts(it) == 1)
        assert container(again)["lastState"]["terminated"]["reason"] == "ContainerStatusUnknown"


def _processes(word: str) -> list[int]:
    """Shells that run with a word in their script."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and word.encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return [number for number in found if number != os.getpid()]


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
    item = _ran(cluster, pod("big", "print(len(b'1' * (256 << 20)))", PYTHON, container=given))
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
    assert _ran(cluster, pod("second", asks, PYTHON))["status"]["phase"] == "Succeeded"


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
    assert log(cluster, _ran(cluster, pod("asker", asks, PYTHON))) == "['one', 'two']\n"


# Accidents, by annotations.


def test_a_pod_is_killed(cluster: Cluster) -> None:
    _here(cluster, pod("struck", IGNORES))
    annotate(cluster, "struck", kill="now")
    item = until(cluster, "struck", ended)
    assert (last(item)["exitCode"], last(item)["reason"]) == (128 + signal.SIGKILL, "Error")
    assert "retort/kill" not in item["metadata"].get("annotations", {})


def test_a_pod_is_evicted_and_nothing_is_known_of_its_containers(cluster: Cluster) -> None:
    _here(cluster, pod("evicted", IGNORES))
    annotate(cluster, "evicted", evict="now")
    item = until(cluster, "evicted", ended)
    assert (item["status"]["phase"], item["status"]["reason"]) == ("Failed", "Evicted")
    assert "containerStatuses" not in item["status"]
    assert "Evicted" in _events(cluster, "evicted")


def test_a_machine_that_is_taken_away_asks_its_pods_to_end(cluster: Cluster) -> None:
    _here(cluster, pod("spot", STAYS, terminationGracePeriodSeconds=600))
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
    asker = _here(cluster, pod("asker", asks, PYTHON))
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


def test_images_must_be_layouts_or_programs(tmp_path: Path) -> None:
    words = r"--image a=.*: neither the directory of an OCI layout"
    options = WorkloadOptions({"a": tmp_path / "absent"})
    with pytest.raises(UserError, match=words):
        Cluster(tmp_path / "cluster", bind("127.0.0.1", 0), workloads=options)
