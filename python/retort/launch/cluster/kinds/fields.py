"""What fields objects have: of core kinds all, of custom kinds those that hold core types.

The fields of core types are those of the Kubernetes client's models, which are made from the API's
published description. Lists and maps that are merged by key are in `retort.launch.cluster.kinds.merge_keys`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Literal

from kubernetes.client import models

from retort.launch.cluster.kinds.merge_keys import (
    ATOMIC_FIELDS,
    ATOMIC_TYPES,
    LIST_KEYS,
    PATCH_KEYS,
    PRIMITIVE_MERGE,
    QUANTITIES,
    RETAIN_KEYS,
    SETS,
)


@dataclass(frozen=True)
class Scalar:
    """Text, a number, or true and false.

    Attributes:
        word: of which JSON type, as Go calls it.
    """

    word: Literal["string", "int64", "bool", "float64", "quantity", "time"]


@dataclass(frozen=True)
class Untyped:
    """Anything: maps are merged by their keys, lists are replaced."""


@dataclass(frozen=True)
class MapOf:
    """Names of the user's own, and values of one type."""

    values: "FieldType"
    atomic: bool = False


@dataclass(frozen=True)
class ListOf:
    """Items of one type.

    Attributes:
        items: their type.
        keys: fields that tell the items apart where appliers share the list; empty: it is replaced.
        is_set: whether the items are scalars that appliers share.
        patch_key: the field by which a strategic merge patch tells the items apart; empty: it replaces.
        merges_scalars: whether a strategic merge patch adds to the list.
        retains_keys: whether such a patch says of an item which keys it keeps.
    """

    items: "FieldType"
    keys: tuple[str, ...] = ()
    is_set: bool = False
    patch_key: str = ""
    merges_scalars: bool = False
    retains_keys: bool = False


@dataclass(frozen=True)
class Struct:
    """Named fields.

    Attributes:
        name: of the type, as the client's models call it.
        strict: whether there are no others.
        atomic: whether it is replaced as a whole.
    """

    name: str
    strict: bool
    atomic: bool

    @property
    def fields(self) -> Mapping[str, "FieldType"]:
        """By their names in JSON."""
        return _fields(self.name)


FieldType = Scalar | Untyped | MapOf | ListOf | Struct

UNTYPED = Untyped()
QUANTITY = Scalar("quantity")
_SCALARS = MappingProxyType(
    {
        "str": Scalar("string"),
        "bytes": Scalar("string"),
        "datetime": Scalar("time"),
        "int": Scalar("int64"),
        "bool": Scalar("bool"),
        "float": Scalar("float64"),
    }
)
_CUSTOM: Mapping[str, Mapping[str, str]] = {
    "PyTorchJob": {"metadata": "V1ObjectMeta", "spec": "PyTorchJobSpec"},
    "PyTorchJobSpec": {"pytorchReplicaSpecs": "Dict[str, ReplicaSpec]"},
    "ReplicaSpec": {"template": "V1PodTemplateSpec"},
    "JobSet": {"metadata": "V1ObjectMeta", "spec": "JobSetSpec", "status": "JobSetStatus"},
    "JobSetSpec": {"replicatedJobs": "List[ReplicatedJob]"},
    "ReplicatedJob": {"template": "V1JobTemplateSpec", "dependsOn": "List[DependsOn]"},
    "DependsOn": {"name": "str"},
    "JobSetStatus": {
        "conditions": "List[V1Condition]",
        "replicatedJobsStatus": "List[NamedStatus]",
    },
    "NamedStatus": {"name": "str"},
    "TrainJob": {"metadata": "V1ObjectMeta", "spec": "TrainJobSpec", "status": "TrainJobStatus"},
    "TrainJobSpec": {"trainer": "TrainJobTrainer"},
    "TrainJobTrainer": {"env": "List[V1EnvVar]", "resourcesPerNode": "V1ResourceRequirements"},
    "TrainJobStatus": {"conditions": "List[V1Condition]", "jobsStatus": "List[NamedStatus]"},
    "TrainingRuntime": {"metadata": "V1ObjectMeta", "spec": "TrainingRuntimeSpec"},
    "TrainingRuntimeSpec": {"template": "JobSetTemplate"},
    "JobSetTemplate": {"metadata": "V1ObjectMeta", "spec": "JobSetSpec"},
    "LocalQueue": {"metadata": "V1ObjectMeta", "status": "LocalQueueStatus"},
    "LocalQueueStatus": {"conditions": "List[V1Condition]"},
    "PodGroup": {"metadata": "V1ObjectMeta", "status": "PodGroupStatus"},
    "PodGroupStatus": {"conditions": "List[V1Condition]"},
    "PodMonitor": {"metadata": "V1ObjectMeta", "spec": "PodMonitorSpec"},
    "PodMonitorSpec": {"selector": "V1LabelSelector", "scrapeProtocols": "List[str]"},
}
"""Of custom types the fields in which more than names and values is to be known."""


def struct(name: str) -> Struct:
    """The type of that name."""
    return Struct(name, strict=name not in _CUSTOM, atomic=name in ATOMIC_TYPES)


@cache
def _fields(name: str) -> Mapping[str, FieldType]:
    if name in _CUSTOM:
        spelt = {"apiVersion": "str", "kind": "str"} | dict(_CUSTOM[name])
    else:
        model = getattr(models, name)
        spelt = {model.attribute_map[key]: kind for key, kind in model.openapi_types.items()}
    return MappingProxyType({key: _parsed(kind, name, key) for key, kind in spelt.items()})


def _parsed(spelt: str, owner: str, field: str) -> FieldType:
    """A type as the client's models spell it: `str`, `V1PodSpec`, `List[...]`, `Dict[str, ...]`."""
    if (owner, field) in QUANTITIES:
        return MapOf(QUANTITY) if "ict" in spelt else QUANTITY
    if spelt in _SCALARS:
        return _SCALARS[spelt]
    if spelt == "object":
        return UNTYPED
    listed = re.fullmatch(r"[Ll]ist\[(.+)\]", spelt)
    if listed:
        at = (owner, field)
        return ListOf(
            _parsed(listed[1], owner, field),
            keys=LIST_KEYS.get(at, ()),
            is_set=at in SETS,
            patch_key=PATCH_KEYS.get(at, ""),
            merges_scalars=at in PRIMITIVE_MERGE,
            retains_keys=at in RETAIN_KEYS,
        )
    mapped = re.fullmatch(r"[Dd]ict[\[(]str, (.+)[\])]", spelt)
    if mapped:
        atomic = (owner, field) in ATOMIC_FIELDS
        return MapOf(_parsed(mapped[1], owner, field), atomic)
    return struct(spelt)
