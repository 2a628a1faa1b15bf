"""Which objects a request means: label and field selectors
(https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/)."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from retort.launch.cluster.kinds.errors import JSONObject, bad_request
from retort.launch.cluster.kinds.kind import Kind

Labels = Mapping[str, str]
_SET = re.compile(r"\s*([^\s!=<>,()]+)\s+(in|notin)\s*\(([^()]*)\)\s*")
_COMPARED = re.compile(r"\s*([^\s!=<>,()]+)\s*(==|=|!=|<|>)\s*([^\s!=<>,()]*)\s*")
_THERE = re.compile(r"\s*(!?)\s*([^\s!=<>,()]+)\s*")
_EVENT_FIELDS = tuple(
    f"involvedObject.{one}"
    for one in ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
)
_FIELDS: Mapping[str, tuple[str, ...]] = {
    "pods": (
        *("spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName"),
        *("spec.hostNetwork", "status.phase", "status.podIP", "status.nominatedNodeName"),
    ),
    "events": (
        *_EVENT_FIELDS,
        *("reason", "reportingComponent", "source", "type"),
    ),
    "namespaces": ("status.phase",),
    "secrets": ("type",),
    "jobs.batch": ("status.successful",),
}
"""Of each resource the fields that may be selected by, beside its name and namespace."""


@dataclass(frozen=True)
class Selection:
    """What a list or a watch shows of a resource.

    Attributes:
        namespace: of which; empty for all.
        labels, fields: selectors, as they are written.
    """

    namespace: str = ""
    labels: str = ""
    fields: str = ""


def matcher(kind: Kind, selection: Selection) -> Callable[[JSONObject], bool]:
    """What tells whether an object is selected.

    Raises:
        ApiError: a selector cannot be read.
    """
    labels = label_matcher(selection.labels)
    fields = _field_tests(kind, selection.fields)

    def selected(item: JSONObject) -> bool:
        metadata = item["metadata"]
        if selection.namespace and metadata.get("namespace") != selection.namespace:
            return False
        return labels(metadata.get("labels") or {}) and all(test(item) for test in fields)

    return selected


def label_matcher(selector: str) -> Callable[[Labels], bool]:
    """What tells whether labels are those of a selector, such as `app=web,tier in (a, b),!old`.

    Raises:
        ApiError: it cannot be read.
    """
    tests = [_label_test(part, selector) for part in _parts(selector)]
    return lambda labels: all(test(labels) for test in tests)


def _parts(selector: str) -> list[str]:
    """A selector's requirements: commas part them, but not those in brackets."""
    return [part for part in re.split(r",(?![^(]*\))", selector) if part.strip()]


def _label_test(part: str, selector: str) -> Callable[[Labels], bool]:
    if found := _SET.fullmatch(part):
        key, word, listed = found.groups()
        values = {one.strip() for one in listed.split(",")}
        if word == "in":
            return lambda labels: labels.get(key) in values
        return lambda labels: labels.get(key) not in values
    if found := _COMPARED.fullmatch(part):
        key, sign, value = found.groups()
        if sign in ("=", "=="):
            return lambda labels: labels.get(key) == value
        if sign == "!=":
            return lambda labels: labels.get(key) != value
        if re.fullmatch(r"-?\d{1,18}", value, re.ASCII):
            return _number_test(key, sign, int(value))
    elif found := _THERE.fullmatch(part):
        absent, key = found.groups()
        return lambda labels: (key not in labels) if absent else (key in labels)
    raise bad_request(f'unable to parse requirement: found "{part.strip()}" in "{selector}"')


def _number_test(key: str, sign: str, bound: int) -> Callable[[Labels], bool]:
    def test(labels: Labels) -> bool:
        text = labels.get(key, "")
        if not re.fullmatch(r"-?\d{1,18}", text, re.ASCII):
            return False
        return int(text) < bound if sign == "<" else int(text) > bound

    return test


def _field_tests(kind: Kind, selector: str) -> list[Callable[[JSONObject], bool]]:
    tests: list[Callable[[JSONObject], bool]] = []
    for part in _parts(selector):
        found = re.fullmatch(r"\s*([\w.\[\]/-]+)\s*(==|=|!=)\s*(.*?)\s*", part)
        if found is None:
            raise bad_request(f'invalid field selector "{selector}": cannot read "{part}"')
        field, sign, value = found.groups()
        if field not in ("metadata.name", "metadata.namespace", *_FIELDS.get(kind.storage, ())):
            raise bad_request(f"field label not supported: {field}")
        tests.append(_field_test(field, sign != "!=", value))
    return tests


def _field_test(field: str, wanted: bool, value: str) -> Callable[[JSONObject], bool]:
    return lambda item: (field_of(item, field) == value) == wanted


def field_of(item: JSONObject, field: str) -> str:
    """A field by its dotted name, as text; empty if it is not there."""
    if field == "status.successful":
        return str((item.get("status") or {}).get("succeeded", 0))
    if field == "source":
        field = "source.component"
    found: object = item
    for name in field.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    if isinstance(found, bool):
        return str(found).lower()
    return "" if found is None else str(found)
