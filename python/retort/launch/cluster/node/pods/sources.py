"""What pods take from other objects of their namespace, and from themselves."""

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from typing import Any

from retort.core.errors import RetortError
from retort.launch.cluster.kinds.errors import JSONObject
from retort.launch.cluster.kinds.kind import Kind
from retort.launch.cluster.kinds.table import kind_of
from retort.launch.units import quantity

CONFIG_MAP = kind_of("v1", "ConfigMap")
SECRET = kind_of("v1", "Secret")
CLAIM = kind_of("v1", "PersistentVolumeClaim")
Find = Callable[[Kind, str], JSONObject | None]
"""An object of the pod's namespace, by kind and name; None where there is none."""


class NotThere(RetortError):
    """Something that a pod names is not there, or not yet."""


@dataclass(frozen=True)
class Sources:
    """Where the values of a pod come from.

    Attributes:
        pod: the pod, with its address in the status.
        find: finds what it names.
    """

    pod: JSONObject
    find: Find

    def content(self, kind: Kind, name: str, *, optional: bool) -> Mapping[str, bytes]:
        """All keys of a ConfigMap or a secret.

        Raises:
            NotThere: it is not there, and not optional.
        """
        found = self.find(kind, name)
        if found is None:
            if optional:
                return {}
            raise NotThere(f'{kind.singular} "{name}" not found')
        if kind == SECRET:
            return _decoded(found.get("data"))
        plain = {key: value.encode() for key, value in (found.get("data") or {}).items()}
        return {**plain, **_decoded(found.get("binaryData"))}

    def value(self, kind: Kind, reference: Mapping[str, Any]) -> str | None:
        """One key, as `configMapKeyRef` and `secretKeyRef` name it; None if it is optional and absent.

        Raises:
            NotThere: the object or the key is not there.
        """
        name, key, optional = reference["name"], reference["key"], bool(reference.get("optional"))
        content = self.content(kind, name, optional=optional)
        if key in content:
            return content[key].decode("utf-8", "replace")
        if optional:
            return None
        metadata = self.pod["metadata"]
        raise NotThere(f"couldn't find key {key} in {kind.kind} {metadata['namespace']}/{name}")

    def field(self, path: str) -> str:
        """What `fieldRef` names (https://kubernetes.io/docs/concepts/workloads/pods/downward-api/).

        Raises:
            NotThere: the path is none that there is.
        """
        base, _, key = path.partition("['")
        if key:
            found = _at(self.pod, base)
            return str(found.get(key.removesuffix("']"), "")) if isinstance(found, dict) else ""
        found = _at(self.pod, path)
        if path in ("metadata.labels", "metadata.annotations"):
            pairs = sorted((found or {}).items())
            return "\n".join(f'{name}="{value}"' for name, value in pairs)
        if path == "status.podIPs":
            return ",".join(one["ip"] for one in found or ())
        if isinstance(found, dict | list):
            raise NotThere(f"fieldRef: {path} is no field that has a value")
        return "" if found is None else str(found)

    def resource(self, reference: Mapping[str, Any], container: str) -> str:
        """What `resourceFieldRef` names, in units of its divisor, rounded up.

        Raises:
            NotThere: the container, or a limit of it, is not there.
        """
        wanted = reference.get("containerName", container)
        listed = {one["name"]: one for one in self.pod["spec"]["containers"]}
        kind, _, name = reference["resource"].partition(".")
        amounts = (listed.get(wanted) or {}).get("resources", {}).get(kind) or {}
        if name not in amounts:
            raise NotThere(f"resourceFieldRef: container {wanted} has no {kind}.{name}")
        divisor = quantity(str(reference.get("divisor") or "1")) or Decimal(1)
        whole = quantity(str(amounts[name])) / divisor
        return str(whole.to_integral_value(ROUND_CEILING))


def _at(item: Any, path: str) -> Any:
    for word in path.split("."):
        if not isinstance(item, dict):
            return None
        item = item.get(word)
    return item


def _decoded(content: Mapping[str, str] | None) -> dict[str, bytes]:
    return {key: base64.b64decode(value) for key, value in (content or {}).items()}
