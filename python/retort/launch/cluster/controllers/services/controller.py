"""The controller of Services: an address of the cluster for each that has one, and its Endpoints."""

import ipaddress
from collections.abc import Iterator, Mapping
from datetime import datetime

from retort.launch.cluster.controllers.frame.items import (
    ObjectKey,
    is_going,
    key_of,
    labels_of,
    spec_of,
)
from retort.launch.cluster.controllers.frame.loop import Mapped
from retort.launch.cluster.controllers.frame.watching import itself
from retort.launch.cluster.controllers.services.endpoints import endpoints_of
from retort.launch.cluster.kinds.errors import JSONObject
from retort.launch.cluster.kinds.kind import Kind
from retort.launch.cluster.kinds.table import POD, kind_of
from retort.launch.cluster.objects.registry import Registry
from retort.launch.cluster.objects.selectors import Selection
from retort.launch.cluster.objects.writing import Writing

SERVICE = kind_of("v1", "Service")
ENDPOINTS = kind_of("v1", "Endpoints")
NETWORK = ipaddress.ip_network("10.96.0.0/16")
"""Of the addresses of services."""
_FIRST = 256
"""The addresses before are those that people choose, so that none is given to two."""
_WRITING = Writing("endpoint-controller")
_MANAGED = "endpoints.kubernetes.io/managed-by"
"""The label of Endpoints that were not written by hand."""


class Services:
    """Acts on Services, and on the Endpoints of their names."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    @property
    def watched(self) -> Mapping[Kind, Mapped]:
        return {SERVICE: itself, POD: self._of_pod, ENDPOINTS: itself}

    def reconcile(self, key: ObjectKey) -> datetime | None:
        service = self._registry.find(SERVICE, *key)
        found = self._registry.find(ENDPOINTS, *key)
        if service is None or is_going(service):
            if found is not None and labels_of(found).get(_MANAGED) == _WRITING.manager:
                self._registry.remove(ENDPOINTS, found)
            return None
        self._give_address(service)
        pods = self._registry.list(POD, Selection(key.namespace)).items
        wanted = endpoints_of(service, pods)
        if wanted is None:
            return None
        wanted["metadata"].setdefault("labels", {})[_MANAGED] = _WRITING.manager
        if found is None:
            self._registry.create(ENDPOINTS, key.namespace, wanted, _WRITING)
        else:
            metadata = {**found["metadata"], **wanted["metadata"]}
            self._registry.update(ENDPOINTS, *key, {**wanted, "metadata": metadata}, _WRITING)
        return None

    def _give_address(self, service: JSONObject) -> None:
        spec = spec_of(service)
        if spec.get("clusterIP") or spec.get("type") == "ExternalName":
            return
        listed = self._registry.list(SERVICE).items
        taken = {spec_of(one).get("clusterIP") for one in listed}
        numbers = range(_FIRST, NETWORK.num_addresses - 1)
        address = next(one for number in numbers if (one := str(NETWORK[number])) not in taken)
        service["spec"] |= {"clusterIP": address, "clusterIPs": [address]}
        self._registry.rewrite(SERVICE, service)

    def _of_pod(self, pod: JSONObject) -> Iterator[ObjectKey]:
        labels = labels_of(pod).items()
        for service in self._registry.list(SERVICE, Selection(key_of(pod).namespace)).items:
            selector = spec_of(service).get("selector")
            if selector and selector.items() <= labels:
                yield key_of(service)
