"""The cluster as it is typed: its process, its directory, and how either may come to harm."""

import http.client
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import urllib3
from kubernetes import client

from retort.core.forks.client import ADDRESS
from tests.launch.cluster.running import (
    MAIN,
    ClusterProcess,
    Kubectl,
    core_client,
    refused,
)
from tests.processes.forks import fork_server_for
from tests.tiny.small_disk import IN_A_NAMESPACE, may_mount

forks = fork_server_for(MAIN)


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
)
def test_a_signal_ends_it_by_one_line_also_while_somebody_watches(
    tmp_path: Path, number: int, code: int, word: str
) -> None:
    with ClusterProcess(tmp_path / "here") as cluster:
        kubectl = Kubectl(cluster.kubeconfig, tmp_path)
        with kubectl.started("get", "ns", "-w") as process:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("NAME")
            ended = cluster.ended_by(number)
        assert ended == (code, [f"{word}: nothing half-written is left"])
        assert str(cluster.kubeconfig) in cluster.ready


def test_what_was_acknowledged_is_there_after_a_kill(tmp_path: Path) -> None:
    directory = tmp_path / "here"
    acknowledged: dict[str, str] = {}
    with ClusterProcess(directory) as cluster:
        core = core_client(cluster.kubeconfig)
        enough = threading.Event()

        def write() -> None:
            try:
                for number in itertools.count():
                    name = f"c{number}"
                    made = core.create_namespaced_config_map(
                        "default", client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name))
                    )
                    acknowledged[name] = made.metadata.resource_version
                    if number == 20:
                        enough.set()
            except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError):
                pass

        writer = threading.Thread(target=write)
        writer.start()
        enough.wait()
        cluster.kill()
        writer.join()
    with ClusterProcess(directory) as cluster:
        core = core_client(cluster.kubeconfig)
        listed = core.list_namespaced_config_map("default")
        found = {one.metadata.name: one.metadata.resource_version for one in listed.items}
        assert acknowledged.items() <= found.items()
        assert len(found) <= len(acknowledged) + 1, "the one that was under way may be there"
        made = core.create_namespaced_config_map(
            "default", client.V1ConfigMap(metadata=client.V1ObjectMeta(name="next"))
        )
        assert int(made.metadata.resource_version) == max(map(int, found.values())) + 1


def test_a_watch_goes_on_in_the_next_process(tmp_path: Path) -> None:
    directory = tmp_path / "here"
    with ClusterProcess(directory) as cluster:
        core = core_client(cluster.kubeconfig)
        since = core.list_namespace().metadata.resource_version
        core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name="new")))
        uid = core.read_namespace("new").metadata.uid
        cluster.kill()
    with ClusterProcess(directory) as cluster:
        kubectl = Kubectl(cluster.kubeconfig, tmp_path)
        path = f"/api/v1/namespaces?watch=1&resourceVersion={since}&timeoutSeconds=1"
        lines = kubectl.said("get", "--raw", path).splitlines()
        events = [json.loads(line) for line in lines]
        assert [(one["type"], one["object"]["metadata"]["uid"]) for one in events] == [
            ("ADDED", uid)
        ]


def test_what_was_being_removed_when_it_was_killed_is_removed_by_the_next(tmp_path: Path) -> None:
    directory = tmp_path / "here"
    with ClusterProcess(directory) as cluster:
        kubectl = Kubectl(cluster.kubeconfig, tmp_path)
        kubectl.said("create", "namespace", "going")
        for number in range(20):
            kubectl.said("create", "-n", "going", "configmap", f"c{number}")
        kubectl.said("delete", "namespace", "going", "--wait=false")
        cluster.kill()
    with ClusterProcess(directory) as cluster:
        kubectl = Kubectl(cluster.kubeconfig, tmp_path)
        kubectl.said("wait", "namespace/going", "--for=delete")
        assert kubectl.said("get", "cm", "--all-namespaces", "-o", "name") == ""


def test_two_do_not_share_a_directory(tmp_path: Path) -> None:
    directory = tmp_path / "here"
    with ClusterProcess(directory) as cluster:
        (line,) = refused("--directory", str(directory))
        assert line == (
            f"error: {directory}: another cluster runs there; stop it, or choose another --directory"
        )
        assert "default" in Kubectl(cluster.kubeconfig, tmp_path).said("get", "ns")
        port = re.findall(r":(\d+);", cluster.ready)[0]
        (line,) = refused("--directory", str(tmp_path / "other"), "--port", port)
        assert line.startswith(f"error: cannot listen on 127.0.0.1:{port}: ")
        assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com"])
def test_it_listens_on_loopback_alone(tmp_path: Path, host: str) -> None:
    (line,) = refused("--directory", str(tmp_path / "here"), "--host", host)
    assert line.startswith(f"error: --host {host}: this cluster is for development")
    assert not (tmp_path / "here").exists()


def test_mistakes_are_one_line_and_change_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine", "utf-8")
    (line,) = refused("--directory", str(tmp_path))
    assert line.startswith(f"error: {tmp_path}: holds something else than a cluster")
    (line,) = refused("--directory", str(tmp_path / "file"))
    assert line.startswith(f"error: {tmp_path / 'file'}")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "objects.sqlite").write_bytes(b"no database at all" * 100)
    (line,) = refused("--directory", str(damaged))
    assert line.startswith(f"error: {damaged / 'objects.sqlite'}: is damaged")
    for words, what in (
        (("--port", "70000"), "--port"),
        (("--history", "0"), "--history"),
        ((), "--directory"),
    ):
        (line,) = refused(*words, *(("--directory", "x") if words else ()))
        assert what in line


def test_a_full_disk_is_one_error_and_loses_nothing(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if not may_mount(disk):
        pytest.skip("no disk can be mounted here")
    # Processes of its own: those that this one's server forks would not see the disk.
    environment = {name: value for name, value in os.environ.items() if name != ADDRESS}
    done = subprocess.run(
        [*IN_A_NAMESPACE, sys.executable, "-m", "tests.launch.cluster.full_disk", str(disk)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["status"], told["reason"]) == (507, "InsufficientStorage")
    assert told["message"].startswith(f"{disk}/here/objects.sqlite: cannot be written: ")
    assert "make room" in told["message"]
    assert "\n" not in told["message"]
    assert told["acknowledged"] == told["read"] == told["after"]
    assert told["acknowledged"][-1] == "with-room"
    # Where there are no control groups or namespaces, that is said, too.
    (line,) = [one for one in told["lines"] if not one.startswith(("limits of pods", "pods are"))]
    assert line == told["message"]


def test_of_two_gangs_that_have_no_room_together_the_second_runs_whole_after_the_first(
    tmp_path: Path,
) -> None:
    """Jobs of two pods, a GPU each, where there are three."""
    options = ("--plain", "--gang-scheduling", "--pretend-gpus", "3", "--image", "shell=/bin/sh")
    with ClusterProcess(tmp_path / "here", *options) as cluster:
        kubectl = Kubectl(cluster.kubeconfig, tmp_path)

        def phase(job: str, wanted: str) -> None:
            holds = f"--for=jsonpath={{.status.phase}}={wanted}"
            kubectl.said("wait", "--for=create", f"podgroup/{job}", "--timeout=-1s")
            kubectl.said("wait", holds, f"podgroup/{job}", "--timeout=-1s")

        kubectl.said("apply", "-f", "-", stdin=_pair("first", "exec sleep infinity"))
        phase("first", "Running")
        kubectl.said("apply", "-f", "-", stdin=_pair("second", "exit 0"))
        phase("second", "Pending")
        names = kubectl.said("get", "pods", "-o", "name").split()
        assert names == ["pod/first-worker-0", "pod/first-worker-1"]
        assert "Insufficient nvidia.com/gpu" in kubectl.said("describe", "podgroup", "second")
        kubectl.said("delete", "pytorchjob", "first")
        kubectl.said("wait", "--for=condition=Succeeded", "pytorchjob/second", "--timeout=-1s")


def _pair(name: str, script: str) -> str:
    container = {
        "name": "pytorch",
        "image": "shell",
        "args": ["-c", script],
        "resources": {"requests": {"nvidia.com/gpu": "1"}, "limits": {"nvidia.com/gpu": "1"}},
    }
    worker = {
        "replicas": 2,
        "restartPolicy": "ExitCode",
        "template": {"spec": {"containers": [container]}},
    }
    job = {
        "apiVersion": "kubeflow.org/v1",
        "kind": "PyTorchJob",
        "metadata": {"name": name},
        "spec": {"pytorchReplicaSpecs": {"Worker": worker}},
    }
    return json.dumps(job)
