"""What a server writes into core objects where their authors wrote nothing
(https://kubernetes.io/docs/reference/kubernetes-api/, the defaults of each field)."""

import base64
from collections.abc import Callable, Mapping
from typing import Any

from retort.launch.cluster.admission.write import Write
from retort.launch.cluster.kinds.errors import JSONObject

_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_PROBE = {
    "timeoutSeconds": 1,
    "periodSeconds": 10,
    "successThreshold": 1,
    "failureThreshold": 3,
}
_DEFAULT_MODE = 0o644


def core_defaults(write: Write, item: JSONObject) -> None:
    """Complete a core object; others are left as they are."""
    complete = _DEFAULTS.get(write.kind.storage)
    if complete and not write.subresource:
        complete(write, item)


def _pod(write: Write, item: JSONObject) -> None:
    _pod_spec(item.setdefault("spec", {}))
    if write.before is None:
        item["status"] = {"phase": "Pending", "qosClass": _quality(item["spec"])}


def _pod_spec(spec: dict[str, Any]) -> None:
    _fill(
        spec,
        restartPolicy="Always",
        dnsPolicy="ClusterFirst",
        schedulerName="default-scheduler",
        terminationGracePeriodSeconds=30,
        securityContext={},
    )
    if "serviceAccountName" in spec:
        _fill(spec, serviceAccount=spec["serviceAccountName"])
    for container in [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]:
        _container(container)
    for volume in spec.get("volumes") or ():
        if volume.keys() <= {"name"}:
            volume["emptyDir"] = {}
        for source in ("configMap", "secret", "downwardAPI", "projected"):
            if source in volume:
                _fill(volume[source], defaultMode=_DEFAULT_MODE)


def _container(container: dict[str, Any]) -> None:
    image = container.get("image", "")
    latest = "@" not in image and (":" not in image.rpartition("/")[2] or image.endswith(":latest"))
    _fill(
        container,
        terminationMessagePath="/dev/termination-log",
        terminationMessagePolicy="File",
        imagePullPolicy="Always" if latest else "IfNotPresent",
        resources={},
    )
    for port in container.get("ports") or ():
        _fill(port, protocol="TCP")
    resources = container["resources"]
    for name, amount in (resources.get("limits") or {}).items():
        resources.setdefault("requests", {}).setdefault(name, amount)
    for variable in container.get("env") or ():
        if "fieldRef" in (variable.get("valueFrom") or {}):
            _fill(variable["valueFrom"]["fieldRef"], apiVersion="v1")
    for probe in _PROBES:
        if probe in container:
            _fill(container[probe], **_PROBE)
            if "httpGet" in container[probe]:
                _fill(container[probe]["httpGet"], path="/", scheme="HTTP")


def _quality(spec: Mapping[str, Any]) -> str:
    """The class by which pods are evicted (https://kubernetes.io/docs/concepts/workloads/pods/pod-qos/)."""
    resources = [one.get("resources") or {} for one in spec.get("containers") or ()]
    if not any(one.get("limits") or one.get("requests") for one in resources):
        return "BestEffort"
    guaranteed = all(
        {"cpu", "memory"} <= (one.get("limits") or {}).keys()
        and one["limits"] == one.get("requests")
        for one in resources
    )
    return "Guaranteed" if guaranteed else "Burstable"


def _template(spec: dict[str, Any]) -> dict[str, Any]:
    template: dict[str, Any] = spec.setdefault("template", {})
    template.setdefault("metadata", {})
    _pod_spec(template.setdefault("spec", {}))
    return template


def _deployment(_: Write, item: JSONObject) -> None:
    spec = item.setdefault("spec", {})
    _fill(
        spec,
        replicas=1,
        revisionHistoryLimit=10,
        progressDeadlineSeconds=600,
        strategy={"type": "RollingUpdate"},
    )
    _fill(spec["strategy"], type="RollingUpdate")
    if spec["strategy"]["type"] == "RollingUpdate":
        _fill(spec["strategy"], rollingUpdate={})
        _fill(spec["strategy"]["rollingUpdate"], maxSurge="25%", maxUnavailable="25%")
    _template(spec)


def _replica_set(_: Write, item: JSONObject) -> None:
    spec = item.setdefault("spec", {})
    _fill(spec, replicas=1)
    _template(spec)


def _job(write: Write, item: JSONObject) -> None:
    spec = item.setdefault("spec", {})
    if "parallelism" not in spec and "completions" not in spec:
        spec["completions"] = 1
    _fill(
        spec,
        parallelism=1,
        backoffLimit=6,
        completionMode="NonIndexed",
        suspend=False,
        podReplacementPolicy="Failed" if "podFailurePolicy" in spec else "TerminatingOrFailed",
    )
    template = _template(spec)
    if write.before is None and not spec.get("manualSelector"):
        uid, name = item["metadata"]["uid"], item["metadata"]["name"]
        labels = template["metadata"].setdefault("labels", {})
        for prefix in ("batch.kubernetes.io/", ""):
            labels[f"{prefix}controller-uid"] = uid
            labels[f"{prefix}job-name"] = name
        spec["selector"] = {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}
    elif write.before is not None:
        before = write.before["spec"]
        _fill(spec, selector=before.get("selector"))
        labels = template["metadata"].setdefault("labels", {})
        for key, value in before["template"]["metadata"].get("labels", {}).items():
            if key.endswith(("controller-uid", "job-name")):
                labels.setdefault(key, value)


def _service(write: Write, item: JSONObject) -> None:
    spec = item.setdefault("spec", {})
    if write.before is not None and spec.get("type", "ClusterIP") != "ExternalName":
        # What was allocated stays, though whoever replaces the object does not know it.
        _fill(spec, clusterIP=write.before["spec"].get("clusterIP"))
    _fill(spec, type="ClusterIP", sessionAffinity="None", internalTrafficPolicy="Cluster")
    for port in spec.get("ports") or ():
        _fill(port, protocol="TCP", targetPort=port.get("port"))
    if spec.get("clusterIP"):
        _fill(spec, clusterIPs=[spec["clusterIP"]])
    if spec["type"] != "ExternalName":
        _fill(spec, ipFamilies=["IPv4"], ipFamilyPolicy="SingleStack")


def _claim(write: Write, item: JSONObject) -> None:
    _fill(item.setdefault("spec", {}), volumeMode="Filesystem")
    if write.before is None:
        item["status"] = {"phase": "Pending"}


def _namespace(write: Write, item: JSONObject) -> None:
    metadata = item["metadata"]
    metadata.setdefault("labels", {})["kubernetes.io/metadata.name"] = metadata["name"]
    if write.before is None:
        item["spec"] = {"finalizers": ["kubernetes"]}
        item["status"] = {"phase": "Active"}
    else:
        item.setdefault("spec", write.before.get("spec", {}))


def _secret(_: Write, item: JSONObject) -> None:
    _fill(item, type="Opaque")
    plain = item.pop("stringData", None)
    if plain:
        data = item.setdefault("data", {})
        data.update({key: base64.b64encode(text.encode()).decode() for key, text in plain.items()})


def _policy(_: Write, item: JSONObject) -> None:
    spec = item.setdefault("spec", {})
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", *(["Egress"] if spec.get("egress") else [])]
    for rule in [*(spec.get("ingress") or ()), *(spec.get("egress") or ())]:
        for port in rule.get("ports") or ():
            _fill(port, protocol="TCP")


def _fill(part: dict[str, Any], **values: Any) -> None:
    for key, value in values.items():
        if value is not None:
            part.setdefault(key, value)


_DEFAULTS: Mapping[str, Callable[[Write, JSONObject], None]] = {
    "pods": _pod,
    "deployments.apps": _deployment,
    "replicasets.apps": _replica_set,
    "jobs.batch": _job,
    "services": _service,
    "persistentvolumeclaims": _claim,
    "namespaces": _namespace,
    "secrets": _secret,
    "networkpolicies.networking.k8s.io": _policy,
}
