"""What a node has to give, and what pods ask of it."""

import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Any

from retort.launch.cluster.kinds.errors import JSONObject
from retort.launch.units import quantity

HOSTNAME = "kubernetes.io/hostname"
Amounts = dict[str, Decimal]
"""Of each resource how much: cores, bytes, pieces."""


@dataclass(frozen=True)
class Node:
    """The machine that runs pods.

    Attributes:
        name: as pods have it in `spec.nodeName`.
        allocatable: what pods may have of it, as Kubernetes writes quantities: `cpu`, `memory`, `nvidia.com/gpu`,
            `pods` (110 where it is not said).
        labels: what pods may select it by, beside its name.
    """

    name: str
    allocatable: Mapping[str, str]
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def all_labels(self) -> dict[str, str]:
        return {HOSTNAME: self.name, "kubernetes.io/os": "linux", **self.labels}

    @property
    def amounts(self) -> Amounts:
        return {"pods": Decimal(110), **amounts(self.allocatable)}


def requested(pod: JSONObject) -> Amounts:
    """What a pod asks for: its containers together, or an init container alone where that is more
    (https://kubernetes.io/docs/concepts/workloads/pods/init-containers/#resource-sharing-within-containers).

    Raises:
        ValueError: an amount is no quantity.
    """
    spec = pod.get("spec") or {}
    running: Amounts = {}
    for container in spec.get("containers") or ():
        running = added(running, _requests(container))
    most: Amounts = {}
    for container in spec.get("initContainers") or ():
        if container.get("restartPolicy") == "Always":  # it stays
            running = added(running, _requests(container))
        else:
            asked = _requests(container)
            most = {
                key: max(most.get(key, Decimal(0)), asked.get(key, Decimal(0)))
                for key in most | asked
            }
    whole = {
        key: max(running.get(key, Decimal(0)), most.get(key, Decimal(0))) for key in running | most
    }
    return added(added(whole, amounts(spec.get("overhead") or {})), {"pods": Decimal(1)})


def added(left: Amounts, right: Amounts) -> Amounts:
    return {key: left.get(key, Decimal(0)) + right.get(key, Decimal(0)) for key in left | right}


def _requests(container: Mapping[str, Any]) -> Amounts:
    return amounts((container.get("resources") or {}).get("requests") or {})


def amounts(quantities: Mapping[str, Any]) -> Amounts:
    """What quantities such as `500m` stand for."""
    return {name: quantity(str(amount)) for name, amount in quantities.items()}


def lacking(node: Node, used: Amounts, asked: Amounts) -> list[str]:
    """What there is too little of, in the scheduler's words."""
    there = node.amounts
    found = []
    for name, amount in asked.items():
        if amount and amount > there.get(name, Decimal(0)) - used.get(name, Decimal(0)):
            found.append("Too many pods" if name == "pods" else f"Insufficient {name}")
    return sorted(found)


def is_selected(node: Node, pod: JSONObject) -> bool:
    """Whether a pod may be on a node, by `nodeSelector` and what its affinity requires."""
    spec, labels = pod.get("spec") or {}, node.all_labels
    if any(labels.get(key) != value for key, value in (spec.get("nodeSelector") or {}).items()):
        return False
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if not required:
        return True
    return any(_term_holds(node, term) for term in required.get("nodeSelectorTerms") or ())


def _term_holds(node: Node, term: Mapping[str, Any]) -> bool:
    expressions, fields = term.get("matchExpressions") or (), term.get("matchFields") or ()
    if not expressions and not fields:
        return False
    return _all_hold(expressions, node.all_labels) and _all_hold(
        fields, {"metadata.name": node.name}
    )


def _all_hold(expressions: Iterable[Mapping[str, Any]], labels: Mapping[str, str]) -> bool:
    return all(_holds(one, labels.get(one["key"])) for one in expressions)


def _holds(expression: Mapping[str, Any], value: str | None) -> bool:
    values = [str(one) for one in expression.get("values") or ()]
    tests: Mapping[str, Callable[[], bool]] = {
        "In": lambda: value in values,
        "NotIn": lambda: value not in values,
        "Exists": lambda: value is not None,
        "DoesNotExist": lambda: value is None,
        "Gt": lambda: _compared(operator.gt, value, values),
        "Lt": lambda: _compared(operator.lt, value, values),
    }
    return tests[expression["operator"]]()


def _compared(
    compare: Callable[[Fraction, Fraction], bool], value: str | None, values: list[str]
) -> bool:
    try:
        return value is not None and compare(Fraction(value), Fraction(values[0]))
    except (ValueError, IndexError):
        return False
