"""The pods behind a service, by address and port
(https://kubernetes.io/docs/concepts/services-networking/service/#endpoints)."""

from collections.abc import Sequence
from typing import Any

from retort.launch.cluster.controllers.frame.items import (
    FINISHED,
    is_going,
    is_true,
    key_of,
    labels_of,
    name_of,
    phase_of,
    spec_of,
    status_of,
)
from retort.launch.cluster.kinds.errors import JSONObject

_HEADLESS = "service.kubernetes.io/headless"


def endpoints_of(service: JSONObject, pods: Sequence[JSONObject]) -> JSONObject | None:
    """The Endpoints of a service; None where it selects no pods, so that someone else says them.

    Args:
        pods: of its namespace.
    """
    spec = spec_of(service)
    selector = spec.get("selector")
    if not selector or spec.get("type") == "ExternalName":
        return None
    subsets: dict[tuple[tuple[str, int, str], ...], dict[str, Any]] = {}
    for pod in sorted(pods, key=name_of):
        if not (selector.items() <= labels_of(pod).items() and status_of(pod).get("podIP")):
            continue
        if is_going(pod) or phase_of(pod) in FINISHED:
            continue
        ports = _ports(spec, pod)
        is_ready = is_true(status_of(pod), "Ready") or spec.get("publishNotReadyAddresses")
        subset = subsets.setdefault(ports, {})
        subset.setdefault("addresses" if is_ready else "notReadyAddresses", []).append(
            _address(service, pod)
        )
        if ports:
            subset["ports"] = [_port(*one) for one in ports]
    labels = labels_of(service)
    if spec.get("clusterIP") == "None":
        labels[_HEADLESS] = ""
    return {
        "metadata": {"name": name_of(service), **({"labels": labels} if labels else {})},
        "subsets": list(subsets.values()),
    }


def _address(service: JSONObject, pod: JSONObject) -> JSONObject:
    spec, (namespace, name) = spec_of(pod), key_of(pod)
    named = spec.get("hostname") and spec.get("subdomain") == name_of(service)
    return {
        "ip": status_of(pod)["podIP"],
        **({"hostname": spec["hostname"]} if named else {}),
        **({"nodeName": spec["nodeName"]} if spec.get("nodeName") else {}),
        "targetRef": {
            "kind": "Pod",
            "namespace": namespace,
            "name": name,
            "uid": pod["metadata"]["uid"],
        },
    }


def _ports(spec: dict[str, Any], pod: JSONObject) -> tuple[tuple[str, int, str], ...]:
    """Of a service in a pod: name, number, protocol. A name that the pod does not have is left out."""
    found = []
    for port in spec.get("ports") or ():
        protocol = port.get("protocol", "TCP")
        target = port.get("targetPort", port["port"])
        if isinstance(target, str) and not target.isdecimal():
            number = _number_of(target, protocol, pod)
            if number is None:
                continue
        else:
            number = int(target)
        found.append((port.get("name", ""), number, protocol))
    return tuple(found)


def _number_of(name: str, protocol: str, pod: JSONObject) -> int | None:
    for container in spec_of(pod).get("containers") or ():
        for port in container.get("ports") or ():
            if port.get("name") == name and port.get("protocol", "TCP") == protocol:
                return int(port["containerPort"])
    return None


def _port(name: str, number: int, protocol: str) -> JSONObject:
    return {**({"name": name} if name else {}), "port": number, "protocol": protocol}
