"""Rules for kinds of Kubernetes itself: a Deployment, and what selects its pods."""

import copy
from typing import Any

import pytest
import yaml

from retort.launch.rules.check import check
from retort.launch.rules.documents import parse
from retort.launch.rules.schemas import Schemas

LABELS = {"app.kubernetes.io/name": "server"}
CONTAINER = {
    "name": "server",
    "image": f"registry.example/retort-inference@sha256:{'ab' * 32}",
    "resources": {"limits": {"memory": "1Gi"}},
    "securityContext": {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    },
    "env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "a", "key": "a"}}}],
    "volumeMounts": [{"name": "all", "mountPath": "/all"}],
}
POD: dict[str, Any] = {
    "automountServiceAccountToken": False,
    "enableServiceLinks": False,
    "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    "containers": [CONTAINER],
    "volumes": [
        {
            "name": "all",
            "projected": {
                "sources": [
                    {"configMap": {"name": "a"}},
                    {"secret": {"name": "token", "optional": True}},
                ]
            },
        }
    ],
}


def _object(api_version: str, kind: str, **rest: Any) -> dict[str, Any]:
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {"name": "a", "labels": LABELS},
        **rest,
    }


SET = {
    "deployment": _object(
        "apps/v1",
        "Deployment",
        spec={
            "selector": {"matchLabels": LABELS},
            "template": {"metadata": {"labels": LABELS}, "spec": POD},
        },
    ),
    "service": _object("v1", "Service", spec={"selector": LABELS, "ports": [{"port": 8000}]}),
    "budget": _object(
        "policy/v1",
        "PodDisruptionBudget",
        spec={
            "minAvailable": 1,
            "selector": {
                "matchExpressions": [
                    {"key": "app.kubernetes.io/name", "operator": "In", "values": ["server"]}
                ]
            },
        },
    ),
    "config": _object("v1", "ConfigMap", data={"a": "b"}),
}
TEMPLATE = "spec.template.spec"
BOX = f"{TEMPLATE}.containers.0"


def _found(found: dict[str, Any]) -> list[str]:
    return list(map(str, check(parse(yaml.safe_dump_all(found.values()), "f"), Schemas(None), ())))


def test_a_server_with_all_that_belongs_to_it_is_right() -> None:
    assert _found(SET) == []


@pytest.mark.parametrize(
    ("changed", "path", "value", "what"),
    [
        ("deployment", "spec.selector.matchLabels", {"a": "b"}, "spec.selector: does not select"),
        ("deployment", f"{BOX}.image", "", f"{BOX}.image: nothing is not"),
        ("deployment", f"{BOX}.image", "server:1", f"{BOX}.image: server:1 is not"),
        ("deployment", f"{BOX}.resources", {}, "limits.memory: is missing"),
        ("deployment", f"{BOX}.ports", [{"containerport": 1}], "did you mean containerPort?"),
        ("deployment", f"{TEMPLATE}.hostPID", True, f"{TEMPLATE}.hostPID: is not allowed"),
        ("service", "spec.selector", {"a": "b"}, "Service/a: spec.selector: selects none"),
        ("service", "spec.ports.0.port", "http", "spec.ports.0.port: cannot be"),
        (
            "budget",
            "spec.selector.matchExpressions.0.operator",
            "NotIn",
            "PodDisruptionBudget/a: spec.selector: selects none",
        ),
        ("config", "immutable", "yes", "immutable: cannot be"),
    ],
)
def test_what_is_wrong_is_one_finding(changed: str, path: str, value: Any, what: str) -> None:
    found = copy.deepcopy(SET)
    *outer, last = path.split(".")
    inside: Any = found[changed]
    for key in outer:
        inside = inside[int(key)] if isinstance(inside, list) else inside[key]
    inside[last] = value
    (line,) = _found(found)
    assert what in line


def test_a_name_that_is_nowhere_is_found_wherever_a_pod_has_it() -> None:
    lines = _found({key: value for key, value in SET.items() if key != "config"})
    assert len(lines) == 2
    assert any(
        f"{BOX}.env.0.valueFrom.configMapKeyRef.name: a: no ConfigMap" in one for one in lines
    )
    assert any("projected.sources.0.configMap.name: a: no ConfigMap" in one for one in lines)


def test_the_objects_of_a_list_are_each_held_to_the_rules() -> None:
    text = yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": list(SET.values())})
    applied = parse(text, "f")
    assert len(applied.documents) == len(SET)
    assert check(applied, Schemas(None), ()) == []
