"""Pods as plain processes, where the kernel allows no namespaces."""

from pathlib import Path

from retort.launch.cluster.kinds.table import kind_of
from tests.launch.cluster.node.pods import (
    PYTHON,
    acting,
    create,
    ended,
    last,
    log,
    phase,
    pod,
    until,
)

SERVICE = kind_of("v1", "Service")
CONFIG_MAP = kind_of("v1", "ConfigMap")


def test_a_plain_process_has_its_files_its_names_and_its_end(tmp_path: Path) -> None:
    with acting(tmp_path / "cluster", is_plain=True) as cluster:
        cluster.registry.create(
            CONFIG_MAP, "default", {"metadata": {"name": "settings"}, "data": {"word": "one"}}
        )
        spec = {"clusterIP": "None", "selector": {"app": "server"}, "ports": [{"port": 8000}]}
        cluster.registry.create(SERVICE, "default", {"metadata": {"name": "server"}, "spec": spec})
        create(
            cluster, pod("server", "exec sleep infinity", metadata={"labels": {"app": "server"}})
        )
        server = until(cluster, "server", phase("Running"))
        given = {
            "env": [{"name": "PLACE", "value": "server:8000"}],
            "args": ["-c", 'cat "$0"; echo "$PLACE"; exit 3', "/settings/word"],
            "volumeMounts": [{"name": "settings", "mountPath": "/settings"}],
        }
        volumes = [{"name": "settings", "configMap": {"name": "settings"}}]
        create(cluster, pod("asker", "", volumes=volumes, container=given))
        item = until(cluster, "asker", ended)
        assert log(cluster, item) == f"one{server['status']['podIP']}:8000\n"
        assert last(item)["exitCode"] == 3


def test_what_a_plain_process_leaves_behind_ends_with_it(tmp_path: Path) -> None:
    script = f"""
import os, subprocess
child = subprocess.Popen(["sleep", "infinity"], stdin=subprocess.DEVNULL, stdout=2, stderr=2)
open({str(tmp_path / "child")!r}, "w").write(str(child.pid))
os._exit(0)
"""
    with acting(tmp_path / "cluster", is_plain=True) as cluster:
        create(cluster, pod("parent", script, PYTHON))
        until(cluster, "parent", ended)
        child = Path("/proc", (tmp_path / "child").read_text(), "status")
        assert not child.exists() or "zombie" in child.read_text()
