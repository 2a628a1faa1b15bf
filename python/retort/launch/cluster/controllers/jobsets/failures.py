"""What becomes of a JobSet when a job of it has failed
(https://jobset.sigs.k8s.io/docs/concepts/#failure-policy)."""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from retort.launch.cluster.controllers.frame.items import condition_of, name_of, status_of
from retort.launch.cluster.controllers.jobsets.jobset import parent_of
from retort.launch.cluster.kinds.errors import JSONObject

FAIL = "FailJobSet"
_RESTART, _FOR_EVER = "RestartJobSet", "RestartJobSetAndIgnoreMaxRestarts"


class Action(NamedTuple):
    """What is done.

    Attributes:
        word: as the policy names it.
        counts: whether it is one of the restarts that there may be.
    """

    word: str
    reason: str
    message: str
    counts: bool = False


def failure_action(
    policy: Mapping[str, Any] | None, failed: Sequence[JSONObject], restarts: int
) -> Action:
    """What a failure policy wants done.

    Args:
        failed: the jobs that have failed, one at least.
        restarts: how many there were that count.
    """
    first = min(failed, key=_since)
    if policy is None:
        message = "jobset failed due to one or more job failures"
        return Action(FAIL, "FailedJobs", _about(message, first))
    word = _RESTART
    for rule in policy.get("rules") or ():
        fitting = [job for job in failed if _fits(rule, job)]
        if fitting:
            word, first = str(rule["action"]), min(fitting, key=_since)
            break
    message = f"applying {word} failure policy action"
    if word == FAIL:
        return Action(FAIL, "FailJobSetFailurePolicyAction", _about(message, first))
    if word == _FOR_EVER:
        return Action(word, f"{word}FailurePolicyAction", _about(message, first))
    if word != _RESTART:
        message = f"failure policy action {word} is not known to this cluster"
        return Action(FAIL, "UnknownFailurePolicyAction", _about(message, first))
    if restarts >= policy.get("maxRestarts", 0):
        message = "jobset failed due to reaching max number of restarts"
        return Action(FAIL, "ReachedMaxRestarts", _about(message, first))
    return Action(word, "RestartJobSetFailurePolicyAction", _about(message, first), counts=True)


def _about(message: str, job: JSONObject) -> str:
    return f"{message} (first failed job: {name_of(job)})"


def _failure(job: JSONObject) -> Mapping[str, Any]:
    return condition_of(status_of(job), "Failed") or {}


def _since(job: JSONObject) -> tuple[str, str]:
    return str(_failure(job).get("lastTransitionTime", "")), name_of(job)


def _fits(rule: Mapping[str, Any], job: JSONObject) -> bool:
    failure = _failure(job)
    reasons, targets = rule.get("onJobFailureReasons"), rule.get("targetReplicatedJobs")
    patterns = rule.get("onJobFailureMessagePatterns")
    return (
        (not reasons or failure.get("reason") in reasons)
        and (not targets or parent_of(job) in targets)
        and (not patterns or any(_matches(one, failure.get("message", "")) for one in patterns))
    )


def _matches(pattern: str, message: str) -> bool:
    with suppress(re.error):
        return re.search(pattern, message) is not None
    return False
