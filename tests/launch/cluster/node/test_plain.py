"""Pods as plain processes, where the kernel allows no namespaces."""

import os
from pathlib import Path

import pytest

from retort.launch.cluster.kinds.table import kind_of
from tests.launch.cluster.node.pods import (
    PYTHON,
    acting,
    create,
    ended,
    last,
    log,
    need_namespaces,
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


def test_where_no_container_can_be_made_that_is_said_and_pods_are_plain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    need_namespaces()
    why = "bwrap: Can't mount proc on /newroot/proc: Operation not permitted"
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "bwrap").write_text(f'#!/bin/sh\necho "{why}" >&2\nexit 1\n')
    (programs / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    with acting(tmp_path / "cluster") as cluster:
        create(cluster, pod("plain", "exit 0"))
        item = until(cluster, "plain", ended)
    assert item["status"]["podIP"].startswith("127.")
    said = f"pods are plain processes, on loopback and with your files: {why}"
    assert said in caplog.messages
