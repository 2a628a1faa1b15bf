"""Names of pods and services, as a cluster's DNS has them, for files that are a container's /etc/hosts
(https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/)."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from retort.launch.cluster.kinds.errors import JSONObject

DOMAIN = "cluster.local"
HELD = "retort/name"
"""Annotation of a pod that has no name yet: `held`."""
_TOP = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"
Names = Mapping[str, Sequence[str]]
"""Name, without a namespace, to addresses."""


def names(
    services: Iterable[JSONObject], pods: Sequence[JSONObject], *, is_early: bool = False
) -> Names:
    """What there are names for in a namespace: services, and pods that have a host name below one.

    A pod has a name when it is ready, or when its service publishes those that are not.

    Args:
        is_early: whether it has one as soon as it has an address.
    """
    found: dict[str, list[str]] = {}
    for service in services:
        spec, name = service["spec"], service["metadata"]["name"]
        selector = spec.get("selector")
        if not selector:
            continue
        unready = is_early or bool(spec.get("publishNotReadyAddresses"))
        behind = [pod for pod in pods if is_behind(selector, pod) and _is_named(pod, unready)]
        has_own = spec.get("clusterIP") not in (None, "", "None") and not is_early
        addresses = [str(pod["status"]["podIP"]) for pod in behind]
        found[name] = [spec["clusterIP"]] if has_own else addresses
        for pod, address in zip(behind, addresses, strict=True):
            if pod["spec"].get("hostname") and pod["spec"].get("subdomain") == name:
                found.setdefault(f"{pod['spec']['hostname']}.{name}", []).append(address)
    return found


def is_behind(selector: Mapping[str, str], pod: JSONObject) -> bool:
    """Whether a service's selector means a pod."""
    labels = pod["metadata"].get("labels") or {}
    return all(labels.get(key) == value for key, value in selector.items())


def is_ready(pod: JSONObject) -> bool:
    """Whether a pod's condition Ready holds."""
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def _is_named(pod: JSONObject, unready: bool) -> bool:
    metadata, status = pod["metadata"], pod.get("status") or {}
    if not status.get("podIP") or status.get("phase") in ("Succeeded", "Failed"):
        return False
    if (metadata.get("annotations") or {}).get(HELD) == "held":
        return False
    return unready or (is_ready(pod) and "deletionTimestamp" not in metadata)


def hosts_text(pod: JSONObject, address: str, found: Mapping[str, Names]) -> str:
    """The text of a pod's /etc/hosts.

    Args:
        found: the names of each namespace.
    """
    namespace = pod["metadata"]["namespace"]
    lines = [f"{address} {' '.join(own_names(pod))}"]
    for other in sorted(found, key=lambda one: (one != namespace, one)):
        for name, addresses in sorted(found[other].items()):
            full = [f"{name}.{other}.svc.{DOMAIN}", f"{name}.{other}.svc", f"{name}.{other}"]
            called = " ".join([*([name] if other == namespace else []), *full])
            lines += [f"{one} {called}" for one in addresses]
    return _TOP + "".join(f"{line}\n" for line in lines)


def hostname(pod: JSONObject) -> str:
    """Of a pod: what it says itself, or its name, as far as a host name goes."""
    return str(pod["spec"].get("hostname") or pod["metadata"]["name"])[:63].rstrip("-.")


def own_names(pod: JSONObject) -> list[str]:
    """What a pod is called by itself, the full name first."""
    host, subdomain = hostname(pod), pod["spec"].get("subdomain")
    if not subdomain:
        return [host]
    return [f"{host}.{subdomain}.{pod['metadata']['namespace']}.svc.{DOMAIN}", host]


def resolver_text(namespace: str) -> str:
    """The text of a pod's /etc/resolv.conf: all names that there are stand in its /etc/hosts.

    Nobody answers at its name server, at once: a machine's own is out of reach, and would be waited for.
    """
    domains = " ".join((f"{namespace}.svc.{DOMAIN}", f"svc.{DOMAIN}", DOMAIN))
    return f"search {domains}\nnameserver 127.0.0.1\noptions timeout:1 attempts:1\n"


def write_hosts(path: Path, text: str) -> None:
    """Write a file that running containers have open as their /etc/hosts.

    It stays the same file, as they have mounted that, and is written by one call: lines that stay where they
    were can be read all the time.
    """
    content = text.encode()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        # What was longer ends in empty lines, and is cut afterwards.
        size = os.fstat(descriptor).st_size
        os.pwrite(descriptor, content.ljust(size, b"\n"), 0)
        os.ftruncate(descriptor, len(content))
    finally:
        os.close(descriptor)
