"""The names that pods find each other by."""

from pathlib import Path
from typing import Any

import pytest

from retort.launch.cluster.node.network.names import hosts_text, names, write_hosts
from retort.launch.cluster.node.plain import awaited, on_machine

Object = dict[str, Any]


def _service(name: str, **spec: Any) -> Object:
    return {"metadata": {"name": name}, "spec": {"selector": {"app": "a"}, **spec}}


def _pod(number: int, *, ready: bool = True, phase: str = "Running", **spec: str) -> Object:
    status = {
        "phase": phase,
        "podIP": f"10.88.0.{number}",
        "conditions": [{"type": "Ready", "status": str(ready)}],
    }
    metadata = {"name": f"p{number}", "namespace": "default", "labels": {"app": "a"}}
    return {"metadata": metadata, "spec": spec, "status": status}


@pytest.mark.parametrize(
    ("service", "pods", "wanted"),
    [
        ({}, [_pod(2), _pod(3)], {"s": ["10.88.0.2", "10.88.0.3"]}),
        ({}, [_pod(2, ready=False), _pod(3)], {"s": ["10.88.0.3"]}),
        ({"publishNotReadyAddresses": True}, [_pod(2, ready=False)], {"s": ["10.88.0.2"]}),
        ({"publishNotReadyAddresses": True}, [_pod(2, phase="Failed")], {"s": []}),
        ({"clusterIP": "10.96.0.9"}, [_pod(2)], {"s": ["10.96.0.9"]}),
        ({"selector": {"app": "b"}}, [_pod(2)], {"s": []}),
        ({"selector": None}, [_pod(2)], {}),
        (
            {"clusterIP": "None"},
            [_pod(2, hostname="node-0", subdomain="s")],
            {"s": ["10.88.0.2"], "node-0.s": ["10.88.0.2"]},
        ),
    ],
)
def test_a_service_has_the_addresses_of_the_pods_behind_it(
    service: Object, pods: list[Object], wanted: dict[str, list[str]]
) -> None:
    assert names([_service("s", **service)], pods) == wanted


def test_a_pod_whose_name_is_held_or_that_is_going_has_none() -> None:
    held, going = _pod(2), _pod(3)
    held["metadata"]["annotations"] = {"retort/name": "held"}
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert names([_service("s")], [held, going, _pod(4)]) == {"s": ["10.88.0.4"]}


def test_the_hosts_file_says_its_own_name_first_and_others_by_their_namespace() -> None:
    found = {"default": {"s": ["10.88.0.2"]}, "other": {"t": ["10.88.0.3", "10.88.0.4"]}}
    assert hosts_text(_pod(2), "10.88.0.2", found).splitlines()[2:] == [
        "10.88.0.2 p2",
        "10.88.0.2 s s.default.svc.cluster.local s.default.svc s.default",
        "10.88.0.3 t.other.svc.cluster.local t.other.svc t.other",
        "10.88.0.4 t.other.svc.cluster.local t.other.svc t.other",
    ]
    member = _pod(2, hostname="node-0", subdomain="job")
    assert hosts_text(member, "10.88.0.2", {}).splitlines()[-1] == (
        "10.88.0.2 node-0.job.default.svc.cluster.local node-0"
    )


def test_a_hosts_file_stays_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    write_hosts(path, "one\ntwo\n")
    with path.open() as opened:
        write_hosts(path, "one\n")
        assert opened.read() == "one\n"
        opened.seek(0)
        write_hosts(path, "one\ntwo\nthree\n")
        assert opened.read() == "one\ntwo\nthree\n"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("w-0:23456", "127.88.0.2:23456"),
        ("tcp://w-0:23456/x", "tcp://127.88.0.2:23456/x"),
        ("my-w-0:23456", "my-w-0:23456"),
        ("w-0", "w-0"),
        ("/runs/w-0:1", "/claims/w-0:1"),
        ("/runs", "/claims"),
        ("/runs/a/b", "/claims/a/b"),
        ("/runsome", "/runsome"),
        ("w-1:1", "w-1:1"),
    ],
)
def test_a_plain_process_is_given_addresses_and_paths_of_the_machine(
    text: str, wanted: str
) -> None:
    found = {"w-0": ["127.88.0.2"], "w-1": []}
    assert on_machine(text, found, {"/runs": "/claims"}) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("w-0:23456", ""),
        ("w-1:23456", "w-1"),
        ("tcp://w-2:1", "w-2"),
        ("late:80", "late"),
        ("elsewhere:80", ""),
        ("w-1", ""),
    ],
)
def test_a_plain_process_waits_for_the_names_of_services_and_of_its_siblings(
    text: str, wanted: str
) -> None:
    assert awaited([text], "w-3", {"w-0": ["127.88.0.2"], "late": []}) == wanted
