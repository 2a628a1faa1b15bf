"""What a failed pod is to its job
(https://kubernetes.io/docs/concepts/workloads/controllers/job/#pod-failure-policy)."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from retort.launch.cluster.controllers.frame.items import key_of, status_of
from retort.launch.cluster.kinds.errors import JSONObject


class Judgement(NamedTuple):
    """Of a failed pod.

    Attributes:
        action: Count, Ignore, or FailJob.
        message: which rule says so, for FailJob.
    """

    action: str
    message: str = ""


COUNT = Judgement("Count")


def judged(spec: Mapping[str, Any], pod: JSONObject) -> Judgement:
    """What the first rule that fits a failed pod says of it; it counts where none does."""
    who = "/".join(key_of(pod))
    for number, rule in enumerate((spec.get("podFailurePolicy") or {}).get("rules") or ()):
        why = _exit_code(rule, pod, who) or _condition(rule, pod, who)
        if why:
            action = rule["action"]
            return Judgement(action, f"{why} matching {action} rule at index {number}")
    return COUNT


def _exit_code(rule: Mapping[str, Any], pod: JSONObject, who: str) -> str:
    wanted = rule.get("onExitCodes")
    if not wanted:
        return ""
    for name, code in _codes(pod):
        if wanted.get("containerName") not in (None, name) or code == 0:
            continue
        if (code in wanted["values"]) == (wanted["operator"] == "In"):
            return f"Container {name} for pod {who} failed with exit code {code}"
    return ""


def _codes(pod: JSONObject) -> Iterator[tuple[str, int]]:
    for lists in ("containerStatuses", "initContainerStatuses"):
        for one in status_of(pod).get(lists) or ():
            ended = (one.get("state") or {}).get("terminated")
            if ended is not None:
                yield one["name"], ended.get("exitCode", 0)


def _condition(rule: Mapping[str, Any], pod: JSONObject, who: str) -> str:
    for wanted in rule.get("onPodConditions") or ():
        for found in status_of(pod).get("conditions") or ():
            if found["type"] == wanted["type"] and found["status"] == wanted.get("status", "True"):
                return f"Pod {who} has condition {found['type']}"
    return ""
