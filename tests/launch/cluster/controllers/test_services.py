"""The pods behind a service, and the addresses of services."""

import ipaddress
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from retort.launch.cluster.controllers.services.controller import ENDPOINTS, NETWORK
from retort.launch.cluster.controllers.services.endpoints import endpoints_of
from retort.launch.cluster.kinds.errors import JSONObject
from retort.launch.cluster.kinds.table import POD
from retort.launch.cluster.objects.deletion import delete
from tests.launch.cluster.controllers.objects import ended, kept, running
from tests.launch.cluster.controllers.playing import SERVICE, Play, playing


@pytest.fixture
def play(tmp_path: Path) -> Iterator[Play]:
    with playing(tmp_path) as one:
        yield one


def a_service(name: str = "web", **spec: Any) -> JSONObject:
    spec = {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}], **spec}
    return {"metadata": {"name": name}, "spec": spec}


def a_pod(name: str, status: JSONObject | None = None, ip: str = "", **spec: Any) -> JSONObject:
    ports = [{"name": "http", "containerPort": 8080}]
    container = {"name": "web", "image": "x:1", "ports": ports}
    return {
        "metadata": {"name": name, "labels": {"app": "web"}},
        "spec": {"containers": [container], **spec},
        "status": {**(status or running(container="web")), **({"podIP": ip} if ip else {})},
    }


def subsets(service: JSONObject, *pods: JSONObject) -> Any:
    found = endpoints_of(kept(service), [kept(pod) for pod in pods])
    return None if found is None else found["subsets"]


def addresses(service: JSONObject, *pods: JSONObject) -> list[tuple[list[str], list[str]]]:
    """Of each subset those that are ready, and those that are not."""
    return [
        (
            [address["ip"] for address in one.get("addresses", [])],
            [address["ip"] for address in one.get("notReadyAddresses", [])],
        )
        for one in subsets(service, *pods)
    ]


def test_ready_pods_are_behind_a_service_by_the_port_that_they_name() -> None:
    (one,) = subsets(a_service(), a_pod("b", ip="10.0.0.2"), a_pod("a", ip="10.0.0.1"))
    assert [address["targetRef"]["name"] for address in one["addresses"]] == ["a", "b"]
    assert one["ports"] == [{"port": 8080, "protocol": "TCP"}]


PENDING: JSONObject = {"phase": "Pending"}


@pytest.mark.parametrize(
    ("pod", "expected"),
    [
        (a_pod("a", ip="10.0.0.1"), [(["10.0.0.1"], [])]),
        (a_pod("a", PENDING, ip="10.0.0.1"), [([], ["10.0.0.1"])]),
        (a_pod("a"), []),
        (a_pod("a", ended(0), ip="10.0.0.1"), []),
        ({**a_pod("a", ip="10.0.0.1"), "metadata": {"labels": {"app": "other"}}}, []),
        (
            {
                **a_pod("a", ip="10.0.0.1"),
                "metadata": {"labels": {"app": "web"}, "deletionTimestamp": "2026-01-31T12:00:00Z"},
            },
            [],
        ),
    ],
)
def test_who_is_behind_a_service(pod: JSONObject, expected: list[Any]) -> None:
    assert addresses(a_service(), pod) == expected


def test_pods_that_are_not_ready_may_be_published_as_ones_that_are() -> None:
    service = a_service(clusterIP="None", ports=[], publishNotReadyAddresses=True)
    pod = a_pod("a", PENDING, "10.0.0.1", hostname="js-node-0-1", subdomain="web")
    (one,) = subsets(service, pod)
    assert one["addresses"][0]["hostname"] == "js-node-0-1"
    assert "ports" not in one


def test_numbers_and_names_of_ports_are_found_and_a_name_that_is_not_there_is_left_out() -> None:
    ports = [
        {"name": "a", "port": 80, "targetPort": 9000},
        {"name": "b", "port": 81, "targetPort": "http", "protocol": "TCP"},
        {"name": "c", "port": 82, "targetPort": "absent"},
        {"name": "d", "port": 83},
    ]
    (one,) = subsets(a_service(ports=ports), a_pod("a", ip="10.0.0.1"))
    found = [(port["name"], port["port"]) for port in one["ports"]]
    assert found == [("a", 9000), ("b", 8080), ("d", 83)]


@pytest.mark.parametrize("spec", [{"selector": None}, {"type": "ExternalName"}])
def test_a_service_that_selects_nothing_has_endpoints_of_someone_else(spec: JSONObject) -> None:
    assert subsets(a_service(**spec), a_pod("a", ip="10.0.0.1")) is None


def test_services_have_addresses_of_their_own_and_headless_ones_none(play: Play) -> None:
    for name in ("one", "two"):
        play.make(SERVICE, a_service(name))
    play.make(SERVICE, a_service("chosen", clusterIP="10.96.0.12"))
    play.make(SERVICE, a_service("none", clusterIP="None"))
    found = play.wait(
        SERVICE,
        lambda found: len(found) == 4 and all("clusterIP" in one["spec"] for one in found.values()),
    )
    given = {name: one["spec"]["clusterIP"] for name, one in found.items()}
    assert (given.pop("none"), given["chosen"]) == ("None", "10.96.0.12")
    assert len(set(given.values())) == 3
    assert all(ipaddress.ip_address(one) in NETWORK for one in given.values())
    # Whoever replaces the object does not know the address, and does not lose it.
    play.registry.update(SERVICE, "default", "one", a_service("one"))
    assert play.get(SERVICE, "one")["spec"]["clusterIP"] == given["one"]


def test_endpoints_follow_pods_and_go_with_their_service(play: Play) -> None:
    play.make(SERVICE, a_service())
    assert play.wait(ENDPOINTS, lambda found: found)["web"]["subsets"] == []
    play.make(POD, a_pod("a"))
    play.placed(1)
    play.be("a", {**running(container="web"), "podIP": "10.0.0.1"})
    found = play.wait_for(ENDPOINTS, "web", lambda one: one["subsets"])
    (address,) = found["subsets"][0]["addresses"]
    assert (address["ip"], address["nodeName"]) == ("10.0.0.1", "here")
    play.be("a", {"phase": "Running", "podIP": "10.0.0.1"})
    play.wait_for(ENDPOINTS, "web", lambda one: "notReadyAddresses" in str(one["subsets"]))
    delete(play.registry, SERVICE, "default", "web")
    play.wait(ENDPOINTS, lambda found: not found)


def test_endpoints_that_were_written_by_hand_stay(play: Play) -> None:
    play.make(ENDPOINTS, {"metadata": {"name": "outside"}, "subsets": []})
    play.make(SERVICE, a_service("outside", selector=None))
    play.wait_for(SERVICE, "outside", lambda one: "clusterIP" in one["spec"])
    delete(play.registry, SERVICE, "default", "outside")
    play.make(SERVICE, a_service("later"))
    play.wait_for(ENDPOINTS, "later", lambda _: True)
    assert "outside" in play.all(ENDPOINTS)
