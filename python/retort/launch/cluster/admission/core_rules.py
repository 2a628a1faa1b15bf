"""What a server refuses of core objects that have the right fields: missing values, and changes that
cannot be made (https://kubernetes.io/docs/reference/kubernetes-api/)."""

import base64
import binascii
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from retort.launch.cluster.admission.write import Write
from retort.launch.cluster.kinds.errors import (
    Cause,
    JSONObject,
    bad_request,
    invalid,
    invalid_value,
    required,
    unsupported,
)

_IMMUTABLE = "field is immutable"
_POD_CHANGES = (
    "pod updates may not change fields other than `spec.containers[*].image`,"
    "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to "
    "existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was "
    "previously negative)"
)
_MICRO_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(Z|[+-]\d\d:\d\d)", re.ASCII)
_RESTARTS = ("Always", "OnFailure", "Never")


def core_rules(write: Write, item: JSONObject) -> None:
    """Refuse a core object that a cluster would refuse.

    Raises:
        ApiError: naming all that is wrong.
    """
    rules = _RULES.get(write.kind.storage)
    if rules is None or write.subresource:
        return
    causes = list(rules(write, item))
    if causes:
        raise invalid(write.kind, item["metadata"]["name"], causes)


def _pod(write: Write, item: JSONObject) -> Iterator[Cause]:
    yield from _pod_spec(item["spec"], "spec")
    if write.before is not None and _fixed(item["spec"]) != _fixed(write.before["spec"]):
        yield Cause("spec", f"Forbidden: {_POD_CHANGES}", "FieldValueForbidden")


def _fixed(spec: Mapping[str, Any]) -> JSONObject:
    """What of a pod stays as it was made. Whoever schedules it names its node once."""
    free = ("activeDeadlineSeconds", "tolerations", "nodeName", "terminationGracePeriodSeconds")
    kept = {key: value for key, value in spec.items() if key not in free}
    for lists in ("containers", "initContainers"):
        kept[lists] = [
            {key: value for key, value in one.items() if key != "image"}
            for one in spec.get(lists) or ()
        ]
    return kept


def _pod_spec(spec: Mapping[str, Any], at: str) -> Iterator[Cause]:
    if not spec.get("containers"):
        yield required(f"{at}.containers")
    names: set[str] = set()
    for lists in ("initContainers", "containers"):
        for number, container in enumerate(spec.get(lists) or ()):
            yield from _container(container, f"{at}.{lists}[{number}]", names, spec)
    if spec["restartPolicy"] not in _RESTARTS:
        yield unsupported(f"{at}.restartPolicy", spec["restartPolicy"], _RESTARTS)


def _container(
    container: Mapping[str, Any], at: str, names: set[str], spec: Mapping[str, Any]
) -> Iterator[Cause]:
    name = container.get("name", "")
    if not name:
        yield required(f"{at}.name")
    elif name in names:
        yield Cause(f"{at}.name", f'Duplicate value: "{name}"', "FieldValueDuplicate")
    names.add(name)
    if not container.get("image"):
        yield required(f"{at}.image")
    volumes = {one.get("name") for one in spec.get("volumes") or ()}
    for number, mount in enumerate(container.get("volumeMounts") or ()):
        if mount.get("name") not in volumes:
            where = f"{at}.volumeMounts[{number}].name"
            yield Cause(where, f'Not found: "{mount.get("name", "")}"', "FieldValueNotFound")
        if not mount.get("mountPath"):
            yield required(f"{at}.volumeMounts[{number}].mountPath")


def _deployment(write: Write, item: JSONObject) -> Iterator[Cause]:
    spec = item["spec"]
    yield from _selected(spec)
    yield from _pod_spec(spec["template"]["spec"], "spec.template.spec")
    if spec["template"]["spec"]["restartPolicy"] != "Always":
        word = spec["template"]["spec"]["restartPolicy"]
        yield unsupported("spec.template.spec.restartPolicy", word, ("Always",))
    if spec["replicas"] < 0:
        why = "must be greater than or equal to 0"
        yield invalid_value("spec.replicas", spec["replicas"], why)
    if write.before is not None and spec.get("selector") != write.before["spec"].get("selector"):
        yield invalid_value("spec.selector", spec.get("selector"), _IMMUTABLE)


def _selected(spec: Mapping[str, Any]) -> Iterator[Cause]:
    wanted = (spec.get("selector") or {}).get("matchLabels") or {}
    labels = spec["template"]["metadata"].get("labels") or {}
    if not spec.get("selector"):
        yield required("spec.selector")
    elif any(labels.get(key) != value for key, value in wanted.items()):
        why = "`selector` does not match template `labels`"
        yield invalid_value("spec.template.metadata.labels", labels, why)


def _job(write: Write, item: JSONObject) -> Iterator[Cause]:
    spec = item["spec"]
    yield from _pod_spec(spec["template"]["spec"], "spec.template.spec")
    word = spec["template"]["spec"]["restartPolicy"]
    if word not in ("OnFailure", "Never"):
        yield unsupported("spec.template.spec.restartPolicy", word, ("OnFailure", "Never"))
    before = write.before["spec"] if write.before is not None else spec
    suspended = before.get("suspend") and not (write.before or {}).get("status", {}).get(
        "startTime"
    )
    for field in ("completions", "completionMode", "selector", "podFailurePolicy", "template"):
        if field == "template" and suspended:
            continue  # whoever queues jobs places them before they start
        if spec.get(field) != before.get(field):
            yield invalid_value(f"spec.{field}", "changed", _IMMUTABLE)


def _service(write: Write, item: JSONObject) -> Iterator[Cause]:
    spec = item["spec"]
    is_named = spec["type"] == "ExternalName"
    if not spec.get("ports") and not is_named and spec.get("clusterIP") != "None":
        yield required("spec.ports")
    for number, port in enumerate(spec.get("ports") or ()):
        if not 1 <= port.get("port", 0) <= 65535:
            why = "must be between 1 and 65535, inclusive"
            yield invalid_value(f"spec.ports[{number}].port", port.get("port", 0), why)
        if len(spec["ports"]) > 1 and not port.get("name"):
            yield required(f"spec.ports[{number}].name")
    before = write.before["spec"] if write.before is not None else spec
    if before.get("clusterIP") and spec.get("clusterIP") != before["clusterIP"]:
        address = spec.get("clusterIP", "")
        yield invalid_value("spec.clusterIPs[0]", address, "may not change once set")


def _claim(write: Write, item: JSONObject) -> Iterator[Cause]:
    spec = item["spec"]
    if not spec.get("accessModes"):
        yield required("spec.accessModes", "at least 1 access mode is required")
    if "storage" not in ((spec.get("resources") or {}).get("requests") or {}):
        yield required("spec.resources[storage]")
    if write.before is not None:
        old, new = ({**one["spec"], "resources": None} for one in (write.before, item))
        bound = "volumeName" not in old and "volumeName" in new
        if old != (new if not bound else {k: v for k, v in new.items() if k != "volumeName"}):
            why = "Forbidden: spec is immutable after creation except resources.requests for bound claims"
            yield Cause("spec", why, "FieldValueForbidden")


def _secret(write: Write, item: JSONObject) -> Iterator[Cause]:
    for text in (item.get("data") or {}).values():
        try:
            base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError) as error:
            raise bad_request(
                'Secret in version "v1" cannot be handled as a Secret: illegal base64 data'
            ) from error
    yield from _frozen(write, item)


def _config_map(write: Write, item: JSONObject) -> Iterator[Cause]:
    yield from _frozen(write, item)


def _frozen(write: Write, item: JSONObject) -> Iterator[Cause]:
    before = write.before
    if before is not None and before.get("immutable"):
        for field in ("immutable", "data", "binaryData"):
            if item.get(field) != before.get(field):
                why = "Forbidden: field is immutable when `immutable` is set"
                yield Cause(field, why, "FieldValueForbidden")


def _event(write: Write, item: JSONObject) -> Iterator[Cause]:
    about = item.get("involvedObject") or {}
    if about.get("namespace", write.namespace) != write.namespace:
        where = "involvedObject.namespace"
        yield invalid_value(where, about["namespace"], "does not match event.namespace")
    time = item.get("eventTime")
    if time is not None and not _MICRO_TIME.fullmatch(time):
        raise bad_request(
            f'Event in version "{write.kind.version}" cannot be handled as a Event: eventTime: {time!r} is '
            "not a time with six digits of a second, such as 2026-01-31T12:00:00.000000Z"
        )


_RULES: Mapping[str, Callable[[Write, JSONObject], Iterator[Cause]]] = {
    "configmaps": _config_map,
    "deployments.apps": _deployment,
    "events": _event,
    "jobs.batch": _job,
    "persistentvolumeclaims": _claim,
    "pods": _pod,
    "replicasets.apps": _deployment,
    "secrets": _secret,
    "services": _service,
}
