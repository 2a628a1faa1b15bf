"""What the server tells of itself: its version, its groups, its kinds
(https://kubernetes.io/docs/concepts/overview/kubernetes-api/#discovery-api)."""

import platform
from typing import Any

from retort.launch.cluster.api import scale
from retort.launch.cluster.kinds.errors import JSONObject
from retort.launch.cluster.kinds.kind import Kind
from retort.launch.cluster.kinds.table import GROUP_VERSIONS, POD, kinds_of

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
_VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
_SCALE = {"group": scale.GROUP, "version": scale.VERSION, "kind": scale.KIND}
_STATUS_VERBS = ["get", "patch", "update"]


def version() -> JSONObject:
    """At `/version`. The API is that of this minor version, as far as the table of kinds goes."""
    return {
        "major": "1",
        "minor": "37",
        "gitVersion": "v1.37.0+retort",
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "",
        "platform": f"linux/{platform.machine()}",
    }


def wants_aggregated(accept: str) -> bool:
    """Whether a client reads everything at once."""
    return any(
        "as=apigroupdiscoverylist" in one.lower() and "v=v2" in one.lower().replace("v=v2beta1", "")
        for one in accept.split(",")
    )


def aggregated(core: bool) -> JSONObject:
    """All groups, their versions and their kinds, at `/api` (the core) and at `/apis` (the others)."""
    groups: dict[str, list[str]] = {}
    for group, one in GROUP_VERSIONS:
        if (group == "") == core:
            groups.setdefault(group, []).append(one)
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": [
            {
                "metadata": {"name": group, "creationTimestamp": None} if group else {},
                "versions": [
                    {
                        "version": one,
                        "freshness": "Current",
                        "resources": [_discovered(kind) for kind in kinds_of(group, one)],
                    }
                    for one in versions
                ],
            }
            for group, versions in groups.items()
        ],
    }


def core_versions(address: str) -> JSONObject:
    """At `/api`."""
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    }


def groups() -> JSONObject:
    """At `/apis`."""
    return {
        "kind": "APIGroupList",
        "apiVersion": "v1",
        "groups": [_group(group, one) for group, one in GROUP_VERSIONS if group],
    }


def group_at(name: str) -> JSONObject | None:
    """At `/apis/NAME`; None where there is no such group."""
    for group, one in GROUP_VERSIONS:
        if group and group == name:
            return {"kind": "APIGroup", "apiVersion": "v1"} | _group(group, one)
    return None


def resources(group: str, one: str) -> JSONObject | None:
    """At `/api/v1` and `/apis/GROUP/VERSION`; None where there is no such version."""
    if (group, one) not in GROUP_VERSIONS:
        return None
    listed: list[JSONObject] = []
    for kind in kinds_of(group, one):
        listed.append(_resource(kind, kind.plural, _VERBS) | _names(kind))
        if kind.has_status:
            listed.append(_resource(kind, f"{kind.plural}/status", _STATUS_VERBS))
        if kind.replicas_at:
            listed.append(_resource(kind, f"{kind.plural}/scale", _STATUS_VERBS) | _SCALE)
        if kind == POD:
            listed.append(_resource(kind, f"{kind.plural}/log", ["get"]))
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": f"{group}/{one}" if group else one,
        "resources": listed,
    }


def _group(group: str, one: str) -> JSONObject:
    this = {"groupVersion": f"{group}/{one}", "version": one}
    return {"name": group, "versions": [this], "preferredVersion": this}


def _resource(kind: Kind, name: str, verbs: list[str]) -> JSONObject:
    return {
        "name": name,
        "singularName": kind.singular if name == kind.plural else "",
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "verbs": verbs,
    }


def _names(kind: Kind) -> JSONObject:
    found: JSONObject = {}
    if kind.short_names:
        found["shortNames"] = list(kind.short_names)
    if kind.categories:
        found["categories"] = list(kind.categories)
    return found


def _discovered(kind: Kind) -> dict[str, Any]:
    names = {"group": kind.group, "version": kind.version, "kind": kind.kind}
    below = [("status", _STATUS_VERBS, names)] if kind.has_status else []
    if kind.replicas_at:
        below.append(("scale", _STATUS_VERBS, _SCALE))
    if kind == POD:
        below.append(("log", ["get"], names))
    return {
        "resource": kind.plural,
        "responseKind": names,
        "scope": "Namespaced" if kind.namespaced else "Cluster",
        "singularResource": kind.singular,
        "verbs": _VERBS,
        **_names(kind),
        "subresources": [
            {"subresource": name, "responseKind": shown, "verbs": verbs}
            for name, verbs, shown in below
        ],
    }
