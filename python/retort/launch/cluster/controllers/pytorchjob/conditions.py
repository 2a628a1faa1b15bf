"""The conditions of a job's status, as the operator keeps them."""

from datetime import datetime
from typing import Any

from retort.launch.cluster.controllers.frame.items import condition_of, is_true, stamp

CREATED, RUNNING, RESTARTING = "Created", "Running", "Restarting"
SUSPENDED, SUCCEEDED, FAILED = "Suspended", "Succeeded", "Failed"
RESUMED = "Resumed"
_EITHER = {RUNNING: RESTARTING, RESTARTING: RUNNING}


def reason_of(word: str) -> str:
    return f"PyTorchJob{word}"


def is_finished(status: dict[str, Any]) -> bool:
    return is_true(status, SUCCEEDED) or is_true(status, FAILED)


def say(
    status: dict[str, Any],
    word: str,
    message: str,
    now: datetime,
    *,
    holds: bool = True,
    reason: str = "",
) -> bool:
    """Have a status say a condition, as the last one. A job that has failed says nothing more, and of Running and
    Restarting it says one.

    Args:
        reason: the word for it, where it is another than that of the condition.
    Returns:
        Whether anything has changed.
    """
    if is_true(status, FAILED):
        return False
    new = {
        "type": word,
        "status": str(holds),
        "lastUpdateTime": stamp(now),
        "lastTransitionTime": stamp(now),
        "reason": reason_of(reason or word),
        "message": message,
    }
    old = condition_of(status, word)
    if old is not None and old["status"] == new["status"]:
        if old["reason"] == new["reason"]:
            return False
        new["lastTransitionTime"] = old["lastTransitionTime"]
    kept = []
    for one in status.get("conditions") or ():
        if one["type"] in (word, _EITHER.get(word)):
            continue
        ended = word in (FAILED, SUCCEEDED) and one["type"] == RUNNING
        kept.append({**one, "status": "False"} if ended else one)
    status["conditions"] = [*kept, new]
    return True
