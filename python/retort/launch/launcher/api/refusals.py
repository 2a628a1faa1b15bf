"""What an API server refuses, in a line that says what to do."""

import json
import re
from typing import Any

from retort.core.errors import RetortError, UserError, shown

_TOO_MANY = 429


class Refused(UserError):
    """The API server has refused a request.

    Attributes:
        status: of HTTP.
        said: its own words.
        reason: its word for the kind of refusal, such as NotFound.
    """

    def __init__(self, status: int, reason: str, said: str, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.reason, self.said = status, reason, said


class NoSuchKind(UserError):
    """The cluster does not know a kind: its operator is not installed."""


class ClusterFailed(RetortError):
    """The API server could not do what it should."""


class Unreachable(UserError):
    """There is no answer."""


class Quiet(Unreachable):
    """Nothing was told for long, and maybe nobody is there any more: ask anew."""


_POLICY = r"denied the request|violates PodSecurity"
_MENDS: tuple[tuple[tuple[int, ...], str, str], ...] = (
    ((401,), "", "the cluster does not accept these credentials: {}; log in anew"),
    ((403,), "exceeded quota", "{}; ask for less, or have the namespace's ResourceQuota raised"),
    ((), _POLICY, "refused by policy: {}; mend what it names in the job, or ask who keeps it"),
    ((403,), "being terminated", "{}; choose another --namespace"),
    ((403,), "", "{}; ask for a role that allows it (kubectl auth can-i tells)"),
    ((404,), "^namespaces ", "{}; make it (kubectl create namespace), or give another --namespace"),
    ((404,), "", "{}; see that name and --namespace are right (list --all-namespaces)"),
    ((409,), "[Cc]onflict", "{}; --force-conflicts takes over what nobody else needs"),
    ((400, 422), "", "the API server does not take it: {}; mend it in the job"),
    ((), "", "refused: {}; ask who keeps the cluster"),
)
"""Of statuses of HTTP and words, the sentence: the first that fits."""


def refusal(status: int, content: str, what: str) -> RetortError:
    """The error of an answer.

    Args:
        what: the object that was asked for or written, as kubectl names it.
    """
    answer = _status(content)
    said = shown(answer.get("message") or content.strip() or status)
    reason = str(answer.get("reason", ""))
    if status >= 500 or status == _TOO_MANY:
        return ClusterFailed(f"{what}: the API server failed ({status}): {said}; try again")
    sentence = next(
        sentence
        for statuses, words, sentence in _MENDS
        if (not statuses or status in statuses) and re.search(words, said)
    )
    return Refused(status, reason, said, f"{what}: {sentence.format(said)}")


def _status(content: str) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
