"""Pods as processes: what they see, and how their containers end and are started again."""

import pytest

from retort.launch.cluster.cluster import Cluster
from retort.launch.cluster.kinds.table import kind_of
from tests.launch.cluster.node.pods import (
    a_cluster,
    container,
    create,
    here,
    last,
    log,
    pod,
    processes,
    ran,
    says,
    until,
    waits,
)

CONFIG_MAP = kind_of("v1", "ConfigMap")


cluster = a_cluster()


def test_a_pod_has_a_root_that_it_cannot_write_and_no_right_of_root(cluster: Cluster) -> None:
    script = """
    id -u; id -g; hostname; echo $$$$; ls -A /tmp
    grep -h -e CapEff -e NoNewPrivs /proc/self/status
    touch /usr/mine /etc/hosts /mine 2>&1; touch /tmp/mine && echo tmp
    df -k --output=size /dev/shm | tail -1
    grep -c : /proc/net/dev
    """
    item = ran(cluster, pod("seen", script, securityContext={"runAsUser": 65532}))
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
    item = ran(cluster, pod("told", "", volumes=volumes, container=given))
    said = log(cluster, item).splitlines()
    assert said[0] == "told-2-$(ABSENT)-$(NAME) 2 told"
    assert said[1] == f"{item['status']['podIP']} told"
    assert "".join(said[2:]) == "2one"


def test_variables_are_for_the_pod_alone(cluster: Cluster) -> None:
    given = {"env": [{"name": "TOKEN", "value": "a-word-that-nobody-sees"}]}
    script = "env | cut -d = -f 1 | sort | tr '\\n' ' '; echo; echo here; exec sleep infinity"
    item = here(cluster, pod("secret", script, container=given))
    names = set(log(cluster, item).splitlines()[0].split())
    # What a shell says of where it is comes from itself.
    assert names - {"OLDPWD", "PWD"} == {"HOME", "LANG", "LOGNAME", "PATH", "TOKEN", "TZ", "USER"}
    assert not processes("a-word-that-nobody-sees")


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
    item = ran(cluster, pod("coded", script))
    assert item["status"]["phase"] == wanted
    assert (last(item)["exitCode"], last(item)["reason"]) == (code, reason)
    assert {one["type"]: one["status"] for one in item["status"]["conditions"]}["Ready"] == "False"


def test_a_program_that_is_not_there_is_an_error_of_the_start(cluster: Cluster) -> None:
    item = ran(cluster, pod("absent", "", container={"command": ["no-such-program"]}))
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
    item = ran(cluster, pod("word", script, container={"terminationMessagePolicy": policy}))
    assert last(item).get("message") == message


def test_a_container_that_fails_is_started_again_with_a_log_of_its_own(cluster: Cluster) -> None:
    volumes = [{"name": "kept", "emptyDir": {}}]
    given = {"volumeMounts": [{"name": "kept", "mountPath": "/kept"}]}
    script = "test -e /kept/seen && exec echo second; touch /kept/seen; echo first; exit 4"
    item = ran(
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
    item = ran(
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
    found = ran(cluster, item)
    assert (found["status"]["phase"], last(found)["exitCode"]) == ("Failed", 4)
    assert log(cluster, found) == "together\n"
    (status,) = found["status"]["initContainerStatuses"]
    assert status["state"]["terminated"]["exitCode"] == 0


def test_a_first_container_that_fails_fails_the_pod(cluster: Cluster) -> None:
    first = [{"name": "one", "image": "local/shell:1", "args": ["-c", "exit 5"]}]
    item = ran(cluster, pod("early", "echo here", initContainers=first))
    assert item["status"]["phase"] == "Failed"
    assert not says(cluster, item, "here")
