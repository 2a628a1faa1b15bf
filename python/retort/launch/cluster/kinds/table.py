"""The table of kinds. Whoever adds a kind adds a row here, and the columns of `kubectl get` beside it."""

from retort.launch.cluster.kinds.kind import Kind

EVENTS = "events"

KINDS: tuple[Kind, ...] = (
    Kind("", "v1", "ConfigMap", "configmaps", "V1ConfigMap", ("cm",)),
    Kind("", "v1", "Endpoints", "endpoints", "V1Endpoints", ("ep",)),
    Kind("", "v1", "Event", EVENTS, "CoreV1Event", ("ev",)),
    Kind(
        *("", "v1", "Namespace", "namespaces", "V1Namespace", ("ns",)),
        namespaced=False,
        has_status=True,
    ),
    Kind(
        *("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims"),
        *("V1PersistentVolumeClaim", ("pvc",)),
        has_status=True,
    ),
    Kind("", "v1", "Pod", "pods", "V1Pod", ("po",), ("all",), has_status=True, has_generation=True),
    Kind("", "v1", "Secret", "secrets", "V1Secret"),
    Kind("", "v1", "Service", "services", "V1Service", ("svc",), ("all",), has_status=True),
    Kind("", "v1", "ServiceAccount", "serviceaccounts", "V1ServiceAccount", ("sa",)),
    Kind(
        *("apps", "v1", "Deployment", "deployments", "V1Deployment", ("deploy",), ("all",)),
        has_status=True,
        has_generation=True,
        replicas_at=("spec", "replicas"),
        running_at=("status", "replicas"),
    ),
    Kind(
        *("apps", "v1", "ReplicaSet", "replicasets", "V1ReplicaSet", ("rs",), ("all",)),
        has_status=True,
        has_generation=True,
        replicas_at=("spec", "replicas"),
        running_at=("status", "replicas"),
    ),
    Kind(
        *("batch", "v1", "Job", "jobs", "V1Job", (), ("all",)),
        has_status=True,
        has_generation=True,
    ),
    Kind("coordination.k8s.io", "v1", "Lease", "leases", "V1Lease"),
    Kind("events.k8s.io", "v1", "Event", EVENTS, "EventsV1Event", ("ev",), stored_as=EVENTS),
    Kind(
        *("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies"),
        *("V1NetworkPolicy", ("netpol",)),
        has_generation=True,
    ),
    Kind(
        *("jobset.x-k8s.io", "v1alpha2", "JobSet", "jobsets", "JobSet"),
        has_status=True,
        has_generation=True,
        strict=False,
    ),
    Kind(
        *("kubeflow.org", "v1", "PyTorchJob", "pytorchjobs", "PyTorchJob"),
        has_status=True,
        has_generation=True,
        replicas_at=("spec", "pytorchReplicaSpecs", "Worker", "replicas"),
        running_at=("status", "replicaStatuses", "Worker", "active"),
        strict=False,
    ),
    Kind(
        *("kueue.x-k8s.io", "v1beta1", "LocalQueue", "localqueues", "LocalQueue"),
        ("queue", "queues", "lq"),
        has_status=True,
        has_generation=True,
        strict=False,
    ),
    Kind(
        *("monitoring.coreos.com", "v1", "PodMonitor", "podmonitors", "PodMonitor", ("pmon",)),
        categories=("prometheus-operator",),
        has_status=True,
        has_generation=True,
        strict=False,
    ),
    Kind(
        *("scheduling.volcano.sh", "v1beta1", "PodGroup", "podgroups", "PodGroup", ("pg",)),
        has_status=True,
        has_generation=True,
        strict=False,
    ),
    Kind(
        *("trainer.kubeflow.org", "v1alpha1", "TrainJob", "trainjobs", "TrainJob"),
        has_status=True,
        has_generation=True,
        strict=False,
    ),
    Kind(
        *("trainer.kubeflow.org", "v1alpha1", "TrainingRuntime", "trainingruntimes"),
        "TrainingRuntime",
        has_generation=True,
        strict=False,
    ),
)

_BY_RESOURCE = {(one.group, one.version, one.plural): one for one in KINDS}
_BY_KIND = {(one.api_version, one.kind): one for one in KINDS}
GROUP_VERSIONS = tuple(dict.fromkeys((one.group, one.version) for one in KINDS))
"""In the order in which clients prefer them."""


def kind_at(group: str, version: str, plural: str) -> Kind | None:
    """The kind whose objects have these words in their URL."""
    return _BY_RESOURCE.get((group, version, plural))


def kind_of(api_version: str, kind: str) -> Kind:
    """The kind that an object names, such as `kind_of("apps/v1", "Deployment")`.

    Raises:
        KeyError: there is none.
    """
    return _BY_KIND[api_version, kind]


def kinds_of(group: str, version: str) -> list[Kind]:
    """All kinds of a version of a group."""
    return [one for one in KINDS if (one.group, one.version) == (group, version)]


POD = kind_of("v1", "Pod")
NAMESPACE = kind_of("v1", "Namespace")
EVENT = kind_of("v1", "Event")
NEW_EVENT = kind_of("events.k8s.io/v1", "Event")
