"""Which lists and maps are shared between writers, and by which keys their items are told apart.

From the published conventions and description of the API
(https://kubernetes.io/docs/reference/using-api/server-side-apply/#merge-strategy and `x-kubernetes-*` and
`patchMergeKey` of each field). A field is (type, name in JSON); what is not here is replaced as a whole.
"""

from collections.abc import Mapping

_CONDITIONS = (
    *("V1PodStatus", "V1DeploymentStatus", "V1NamespaceStatus", "V1ServiceStatus"),
    *("V1PersistentVolumeClaimStatus", "JobSetStatus", "TrainJobStatus", "LocalQueueStatus"),
    "PodGroupStatus",
)
_CONTAINERS = ("V1Container", "V1EphemeralContainer")

LIST_KEYS: Mapping[tuple[str, str], tuple[str, ...]] = {
    **{(one, "conditions"): ("type",) for one in _CONDITIONS},
    **{(one, "env"): ("name",) for one in _CONTAINERS},
    **{(one, "ports"): ("containerPort", "protocol") for one in _CONTAINERS},
    **{(one, "volumeMounts"): ("mountPath",) for one in _CONTAINERS},
    **{(one, "volumeDevices"): ("devicePath",) for one in _CONTAINERS},
    ("TrainJobTrainer", "env"): ("name",),
    ("V1ResourceRequirements", "claims"): ("name",),
    ("V1PodSpec", "containers"): ("name",),
    ("V1PodSpec", "initContainers"): ("name",),
    ("V1PodSpec", "ephemeralContainers"): ("name",),
    ("V1PodSpec", "volumes"): ("name",),
    ("V1PodSpec", "imagePullSecrets"): ("name",),
    ("V1PodSpec", "hostAliases"): ("ip",),
    ("V1PodSpec", "resourceClaims"): ("name",),
    ("V1PodSpec", "schedulingGates"): ("name",),
    ("V1PodSpec", "topologySpreadConstraints"): ("topologyKey", "whenUnsatisfiable"),
    ("V1PodStatus", "podIPs"): ("ip",),
    ("V1PodStatus", "resourceClaimStatuses"): ("name",),
    ("V1ServiceSpec", "ports"): ("port", "protocol"),
    ("V1ServiceAccount", "secrets"): ("name",),
    ("V1ObjectMeta", "ownerReferences"): ("uid",),
    ("JobSetSpec", "replicatedJobs"): ("name",),
    ("ReplicatedJob", "dependsOn"): ("name",),
    ("JobSetStatus", "replicatedJobsStatus"): ("name",),
    ("TrainJobStatus", "jobsStatus"): ("name",),
}
"""Lists that appliers share."""

KEY_DEFAULTS: Mapping[str, str] = {"protocol": "TCP"}
"""Values of such keys where an item does not name them."""

SETS = frozenset({("V1ObjectMeta", "finalizers"), ("PodMonitorSpec", "scrapeProtocols")})
"""Lists of scalars that appliers share."""

ATOMIC_TYPES = frozenset(
    {
        *("V1LabelSelector", "V1NodeSelector", "V1NodeSelectorTerm"),
        *("V1LocalObjectReference", "V1ObjectReference", "V1TypedLocalObjectReference"),
        *("V1ConfigMapKeySelector", "V1SecretKeySelector", "V1SecretReference"),
        *("V1ObjectFieldSelector", "V1ResourceFieldSelector", "V1OwnerReference"),
        *("V1FileKeySelector", "V1TypedObjectReference"),
    }
)
"""Types of which appliers own all or nothing."""

ATOMIC_FIELDS = frozenset({("V1PodSpec", "nodeSelector"), ("V1ServiceSpec", "selector")})
"""Maps of which appliers own all or nothing."""

PATCH_KEYS: Mapping[tuple[str, str], str] = {
    **{at: keys[0] for at, keys in LIST_KEYS.items()},
    ("V1JobStatus", "conditions"): "type",
    ("V1ServiceAccount", "imagePullSecrets"): "name",
}
"""Lists whose items a strategic merge patch tells apart by a key."""

PRIMITIVE_MERGE = frozenset({("V1ObjectMeta", "finalizers")})
"""Lists of scalars that a strategic merge patch adds to."""

RETAIN_KEYS = frozenset({("V1PodSpec", "volumes")})
"""Lists of whose items such a patch says which keys are kept."""

QUANTITIES = frozenset(
    {
        *(("V1ResourceRequirements", one) for one in ("limits", "requests")),
        *(("V1VolumeResourceRequirements", one) for one in ("limits", "requests")),
        *(("V1PersistentVolumeClaimStatus", one) for one in ("allocatedResources", "capacity")),
        ("V1PodSpec", "overhead"),
        ("V1EmptyDirVolumeSource", "sizeLimit"),
        ("V1ResourceFieldSelector", "divisor"),
    }
)
"""Amounts, which may be written as text or as a number."""
