"""What `kubectl get` shows of each kind."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from retort.launch.cluster.kinds.errors import JSONObject
from retort.launch.cluster.kinds.kind import Kind
from retort.launch.cluster.kinds.table import EVENTS
from retort.launch.cluster.tables.columns import (
    NONE,
    UNKNOWN,
    Column,
    age,
    age_of,
    at,
    count,
    duration,
    field,
)

_NAME = Column("Name", field("metadata.name"))
_AGE = Column("Age", age_of("metadata.creationTimestamp"))


def columns_of(kind: Kind) -> tuple[Column, ...]:
    """The columns of a kind: its name, what is said of it, and its age."""
    if kind.storage == EVENTS:
        return _OF_EVENTS
    return (_NAME, *_COLUMNS.get(kind.storage, (_AGE,)))


def _containers(item: JSONObject, field: str) -> str:
    spec = at(item, "spec.template.spec") or at(item, "spec") or {}
    return ",".join(str(one.get(field, "")) for one in spec.get("containers") or ())


_OF_CONTAINERS = (
    Column("Containers", lambda item: _containers(item, "name"), priority=1),
    Column("Images", lambda item: _containers(item, "image"), priority=1),
)


def _selector(path: str) -> Callable[[JSONObject], str]:
    def cell(item: JSONObject) -> str:
        found = at(item, path) or {}
        labels = found.get("matchLabels", found)
        words = ",".join(
            f"{key}={value}" for key, value in sorted(labels.items()) if isinstance(value, str)
        )
        return words or NONE

    return cell


def _statuses(item: JSONObject) -> list[Any]:
    return list(at(item, "status.containerStatuses") or ())


def _pod_ready(item: JSONObject) -> str:
    ready = sum(bool(one.get("ready")) for one in _statuses(item))
    return f"{ready}/{len(at(item, 'spec.containers') or ())}"


def _pod_status(item: JSONObject) -> str:
    """The word for how a pod is: the phase, unless a container has a reason of its own."""
    word = at(item, "status.reason") or at(item, "status.phase") or UNKNOWN
    for one in reversed(_statuses(item)):
        state = one.get("state") or {}
        waiting, ended = state.get("waiting") or {}, state.get("terminated") or {}
        if waiting.get("reason"):
            word = waiting["reason"]
        elif ended:
            signal = ended.get("signal")
            word = ended.get("reason") or (
                f"Signal:{signal}" if signal else f"ExitCode:{ended.get('exitCode', 0)}"
            )
    if word == "Completed" and any(
        "running" in (one.get("state") or {}) for one in _statuses(item)
    ):
        word = "Running" if _pod_is_ready(item) else "NotReady"
    if at(item, "metadata.deletionTimestamp"):
        return "Unknown" if at(item, "status.reason") == "NodeLost" else "Terminating"
    return str(word)


def _pod_is_ready(item: JSONObject) -> bool:
    conditions = at(item, "status.conditions") or ()
    return any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions)


def _pod_restarts(item: JSONObject) -> str:
    return str(sum(one.get("restartCount", 0) for one in _statuses(item)))


def _ports(item: JSONObject) -> str:
    words = []
    for port in at(item, "spec.ports") or ():
        node = f":{port['nodePort']}" if port.get("nodePort") else ""
        words.append(f"{port.get('port')}{node}/{port.get('protocol', 'TCP')}")
    return ",".join(words) or NONE


def _external(item: JSONObject) -> str:
    listed = at(item, "spec.externalIPs") or ()
    return ",".join(listed) or str(at(item, "spec.externalName") or NONE)


def _endpoints(item: JSONObject) -> str:
    words = [
        f"{address.get('ip')}:{port.get('port')}"
        for subset in item.get("subsets") or ()
        for address in subset.get("addresses") or ()
        for port in subset.get("ports") or ()
    ]
    more = f" + {len(words) - 3} more..." if len(words) > 3 else ""
    return (",".join(words[:3]) + more) or NONE


def _deployment_ready(item: JSONObject) -> str:
    return f"{at(item, 'status.readyReplicas') or 0}/{at(item, 'spec.replicas') or 0}"


def _job_status(item: JSONObject) -> str:
    true = [
        one.get("type")
        for one in at(item, "status.conditions") or ()
        if one.get("status") == "True"
    ]
    for word, shown in (
        ("Complete", "Complete"),
        ("Failed", "Failed"),
        ("Suspended", "Suspended"),
        ("FailureTarget", "FailureTarget"),
        ("SuccessCriteriaMet", "SuccessCriteriaMet"),
    ):
        if word in true:
            return shown
    return "Terminating" if at(item, "metadata.deletionTimestamp") else "Running"


def _completions(item: JSONObject) -> str:
    done, wanted = at(item, "status.succeeded") or 0, at(item, "spec.completions")
    if wanted is not None:
        return f"{done}/{wanted}"
    several = at(item, "spec.parallelism") or 0
    return f"{done}/1 of {several}" if several > 1 else f"{done}/1"


def _job_duration(item: JSONObject) -> str:
    start, end = at(item, "status.startTime"), at(item, "status.completionTime")
    if not start:
        return ""
    if not end:
        return age(start)
    took = datetime.fromisoformat(end) - datetime.fromisoformat(start)
    return duration(int(took.total_seconds()))


def _last_condition(item: JSONObject) -> str:
    conditions = at(item, "status.conditions") or ()
    return str(conditions[-1].get("type", "")) if conditions else ""


def _completed(item: JSONObject) -> str:
    conditions = at(item, "status.conditions") or ()
    return next((one.get("status", "") for one in conditions if one.get("type") == "Completed"), "")


def _event_object(item: JSONObject) -> str:
    about = item.get("involvedObject") or item.get("regarding") or {}
    return f"{str(about.get('kind', '')).lower()}/{about.get('name', '')}"


def _event_seen(item: JSONObject) -> str:
    names = ("lastTimestamp", "deprecatedLastTimestamp", "eventTime")
    return age(next((item[one] for one in names if item.get(one)), None))


def _event_text(item: JSONObject) -> str:
    return str(item.get("message") or item.get("note") or "").strip()


_SHORT = {
    "ReadWriteOnce": "RWO",
    "ReadOnlyMany": "ROX",
    "ReadWriteMany": "RWX",
    "ReadWriteOncePod": "RWOP",
}


def _modes(item: JSONObject) -> str:
    return ",".join(_SHORT.get(one, one) for one in at(item, "status.accessModes") or ())


def _word(value: Any) -> str:
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


_OF_EVENTS = (
    Column("Last Seen", _event_seen),
    Column("Type", field("type", "")),
    Column("Reason", field("reason", "")),
    Column("Object", _event_object),
    Column("Message", _event_text),
    Column("Name", field("metadata.name"), priority=1),
)

_COLUMNS: Mapping[str, tuple[Column, ...]] = {
    "configmaps": (Column("Data", count("data", "binaryData"), "integer"), _AGE),
    "endpoints": (Column("Endpoints", _endpoints), _AGE),
    "namespaces": (Column("Status", field("status.phase")), _AGE),
    "persistentvolumeclaims": (
        Column("Status", field("status.phase")),
        Column("Volume", field("spec.volumeName", "")),
        Column("Capacity", field("status.capacity.storage", "")),
        Column("Access Modes", _modes),
        Column("StorageClass", field("spec.storageClassName", "")),
        _AGE,
        Column("VolumeMode", field("spec.volumeMode"), priority=1),
    ),
    "pods": (
        Column("Ready", _pod_ready),
        Column("Status", _pod_status),
        Column("Restarts", _pod_restarts),
        _AGE,
        Column("IP", field("status.podIP"), priority=1),
        Column("Node", field("spec.nodeName"), priority=1),
        Column("Nominated Node", field("status.nominatedNodeName"), priority=1),
        Column("Readiness Gates", lambda _: NONE, priority=1),
    ),
    "secrets": (Column("Type", field("type")), Column("Data", count("data"), "integer"), _AGE),
    "services": (
        Column("Type", field("spec.type")),
        Column("Cluster-IP", field("spec.clusterIP")),
        Column("External-IP", _external),
        Column("Port(s)", _ports),
        _AGE,
        Column("Selector", _selector("spec.selector"), priority=1),
    ),
    "serviceaccounts": (_AGE,),
    "deployments.apps": (
        Column("Ready", _deployment_ready),
        Column("Up-to-date", field("status.updatedReplicas", 0), "integer"),
        Column("Available", field("status.availableReplicas", 0), "integer"),
        _AGE,
        *_OF_CONTAINERS,
        Column("Selector", _selector("spec.selector"), priority=1),
    ),
    "replicasets.apps": (
        Column("Desired", field("spec.replicas", 0), "integer"),
        Column("Current", field("status.replicas", 0), "integer"),
        Column("Ready", field("status.readyReplicas", 0), "integer"),
        _AGE,
        *_OF_CONTAINERS,
        Column("Selector", _selector("spec.selector"), priority=1),
    ),
    "jobs.batch": (
        Column("Status", _job_status),
        Column("Completions", _completions),
        Column("Duration", _job_duration),
        _AGE,
        *_OF_CONTAINERS,
        Column("Selector", _selector("spec.selector"), priority=1),
    ),
    "leases.coordination.k8s.io": (Column("Holder", field("spec.holderIdentity", "")), _AGE),
    "networkpolicies.networking.k8s.io": (
        Column("Pod-Selector", _selector("spec.podSelector")),
        _AGE,
    ),
    "jobsets.jobset.x-k8s.io": (
        Column("TerminalState", field("status.terminalState", "")),
        Column("Restarts", field("status.restarts", "")),
        Column("Completed", _completed),
        Column("Suspended", lambda item: _word(at(item, "spec.suspend"))),
        _AGE,
    ),
    "localqueues.kueue.x-k8s.io": (
        Column("ClusterQueue", field("spec.clusterQueue", "")),
        Column("Pending Workloads", field("status.pendingWorkloads", 0), "integer"),
        Column("Admitted Workloads", field("status.admittedWorkloads", 0), "integer"),
    ),
    "podgroups.scheduling.volcano.sh": (
        Column("Status", field("status.phase", "")),
        Column("minMember", field("spec.minMember", ""), "integer"),
        _AGE,
        Column("Queue", field("spec.queue", ""), priority=1),
    ),
    "pytorchjobs.kubeflow.org": (Column("State", _last_condition), _AGE),
    "trainjobs.trainer.kubeflow.org": (Column("State", _last_condition), _AGE),
}
