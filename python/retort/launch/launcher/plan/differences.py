"""What applying objects would change, as the API server itself answers a dry run."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from retort.launch.launcher.api.client import Api
from retort.launch.launcher.api.refusals import Refused
from retort.launch.launcher.api.resources import CLAIM, JOBS, Object, resource_of
from retort.launch.launcher.seen.jobs import job_of
from retort.launch.manifests import to_yaml

_SERVERS = ("creationTimestamp", "generation", "managedFields", "resourceVersion", "uid")
_INVALID = 422


@dataclass(frozen=True)
class Difference:
    """
    Attributes:
        item: as it is applied.
        action: `kept` is a claim that is there, which is nobody's to change, and `replaced` a job whose fields
            cannot be.
        lines: a unified diff of what is and what would be.
    """

    item: Object
    action: Literal["created", "changed", "unchanged", "kept", "replaced"]
    lines: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """As kubectl names it."""
        return f"{self.item['kind'].lower()}/{self.item['metadata']['name']}"


def differences(api: Api, items: Iterable[Object], *, force: bool = False) -> list[Difference]:
    """Of each object, in order.

    Raises:
        Refused: the API server does not take one.
    """
    return [_difference(api, item, force) for item in items]


def _difference(api: Api, item: Object, force: bool) -> Difference:
    resource = resource_of(item)
    before = api.find(resource, item["metadata"]["name"])
    if before is not None and resource == CLAIM:
        return Difference(item, "kept")
    wanted = item if before is None or resource not in JOBS else _suspended_as(item, before)
    try:
        after = api.apply(resource, wanted, dry_run=True, force=force)
    except Refused as error:
        # What is immutable in a job is changed by another job in its place.
        if before is None or resource not in JOBS or error.status != _INVALID:
            raise
        return Difference(item, "replaced", (f"  {error.said}",))
    if before is None:
        return Difference(item, "created")
    was, now = (_text(one) for one in (before, after))
    lines = list(difflib.unified_diff(was, now, "is", "would be", lineterm="", n=2))
    return Difference(item, "changed" if lines else "unchanged", tuple(lines))


def _suspended_as(item: Object, before: Object) -> Object:
    """A job that is suspended, or not, as the present one: that is its queue's to say, or `cancel`'s."""
    job, present = job_of(item), job_of(before).run_policy.get("suspend")
    policy = {key: value for key, value in job.run_policy.items() if key != "suspend"}
    policy |= {} if present is None else {"suspend": present}
    if not job.is_v1:
        return {**item, "spec": policy}
    return {**item, "spec": {**item["spec"], "runPolicy": policy}}


def _text(item: Object) -> list[str]:
    metadata = {key: value for key, value in item["metadata"].items() if key not in _SERVERS}
    shown = {key: value for key, value in item.items() if key not in ("metadata", "status")}
    ordered = {"apiVersion": "", "kind": "", **shown, "metadata": metadata}
    return to_yaml([dict(sorted(ordered.items()))]).splitlines()
