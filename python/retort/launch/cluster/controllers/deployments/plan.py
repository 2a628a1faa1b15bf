"""What is to be done about a Deployment: a pure function
(https://kubernetes.io/docs/concepts/workloads/controllers/deployment/)."""

import copy
import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import orjson

from retort.launch.cluster.controllers.deployments.replicas import REPLICASET
from retort.launch.cluster.controllers.deployments.rollout import (
    allowed_unavailable,
    available,
    scales,
    size,
)
from retort.launch.cluster.controllers.frame.events import Happening
from retort.launch.cluster.controllers.frame.items import (
    annotations_of,
    condition_of,
    is_going,
    moment,
    name_of,
    owner_reference,
    set_condition,
    spec_of,
    stamp,
    status_of,
)
from retort.launch.cluster.controllers.frame.outcome import NOTHING, Creation, Outcome, Removal
from retort.launch.cluster.kinds.errors import JSONObject
from retort.launch.cluster.kinds.table import kind_of

DEPLOYMENT = kind_of("apps/v1", "Deployment")
HASH = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
_DESIRED = "deployment.kubernetes.io/desired-replicas"
_LETTERS = "bcdfghjklmnpqrstvwxz2456789"


def plan(
    item: JSONObject, sets: Sequence[JSONObject], pods: Sequence[JSONObject], now: datetime
) -> Outcome:
    """What is to be done about a Deployment.

    Args:
        sets: the ReplicaSets that it controls.
        pods: those of its ReplicaSets that have not ended.
    """
    if is_going(item):
        return NOTHING
    return _Planning(item, sets, pods, now).outcome()


class _Planning:
    """One look at a Deployment: decisions, gathered."""

    def __init__(
        self,
        item: JSONObject,
        sets: Sequence[JSONObject],
        pods: Sequence[JSONObject],
        now: datetime,
    ) -> None:
        self.item, self.spec, self.now = item, spec_of(item), now
        self.status: dict[str, Any] = copy.deepcopy(status_of(item))
        self.sets = sorted(sets, key=lambda one: (_revision(one), name_of(one)))
        template = _plain(self.spec["template"])
        same = [one for one in self.sets if _plain(spec_of(one)["template"]) == template]
        self.new = same[0] if same else None
        self.old = [one for one in self.sets if one is not self.new]
        old_names = {name_of(one) for one in self.old}
        self.old_pods = sum(_owner(pod) in old_names for pod in pods)
        self.events: list[Happening] = []
        self.updates: dict[str, JSONObject] = {}
        self.creations: list[Creation] = []

    def outcome(self) -> Outcome:
        paused = bool(self.spec.get("paused"))
        if self.new is not None:
            if not paused:
                self._number(self.new)
            self._scale()
        elif not paused:
            self._make()
        elif self.old:
            self._set_size(self.old[-1], int(self.spec.get("replicas", 1)))
        again_at = self._say()
        return Outcome(
            status=self.status,
            annotations=self._annotations(),
            events=tuple(self.events),
            updates=tuple((REPLICASET, one) for one in self.updates.values()),
            removals=self._forgotten(),
            creations=tuple(self.creations),
            again_at=again_at,
        )

    @property
    def wanted(self) -> int:
        return int(self.spec.get("replicas", 1))

    @property
    def _is_recreated(self) -> bool:
        return bool((self.spec.get("strategy") or {}).get("type") == "Recreate")

    def _next_revision(self) -> int:
        return max((_revision(one) for one in self.old), default=0) + 1

    def _annotations(self) -> dict[str, str] | None:
        """The revision of what is rolled out, where `kubectl rollout` looks for it."""
        if self.creations:
            current = str(self._next_revision())
        elif self.new is not None:
            current = str(_revision(self.updates.get(name_of(self.new), self.new)))
        else:
            return None
        return None if annotations_of(self.item).get(REVISION) == current else {REVISION: current}

    def _number(self, new: JSONObject) -> None:
        """Give a ReplicaSet that is taken up again, as by an undo, the next revision."""
        if _revision(new) < self._next_revision():
            changed = self._changed(new)
            metadata = changed["metadata"]
            number = str(self._next_revision())
            metadata["annotations"] = {**(metadata.get("annotations") or {}), REVISION: number}

    def _make(self) -> None:
        if self._is_recreated and (self.old_pods or any(map(size, self.old))):
            for one in self.old:
                self._set_size(one, 0)
            return  # new pods come when the old ones are gone
        template = copy.deepcopy(dict(self.spec["template"]))
        digest = _digest(template)
        template.setdefault("metadata", {}).setdefault("labels", {})[HASH] = digest
        selector = copy.deepcopy(self.spec["selector"])
        selector.setdefault("matchLabels", {})[HASH] = digest
        name = f"{name_of(self.item)}-{digest}"
        new: JSONObject = {
            "metadata": {
                "name": name,
                "labels": dict(template["metadata"]["labels"]),
                "annotations": {REVISION: str(self._next_revision()), _DESIRED: str(self.wanted)},
                "ownerReferences": [owner_reference(DEPLOYMENT, self.item)],
            },
            "spec": {"replicas": 0, "selector": selector, "template": template},
        }
        if self.spec.get("minReadySeconds"):
            new["spec"]["minReadySeconds"] = self.spec["minReadySeconds"]
        first = scales(self.spec, new, self.old, self.old_pods)
        number = new["spec"]["replicas"] = first.get(name, 0)
        if number:
            self._tell_scale(name, 0, number)
        self.creations.append(Creation(REPLICASET, new))
        self._progress("True", "NewReplicaSetCreated", f'Created new replica set "{name}"')

    def _scale(self) -> None:
        if self.new is None:
            return
        if self.spec.get("paused"):
            active = [one for one in self.sets if size(one)] or [self.new]
            if len(active) == 1:
                self._set_size(active[0], self.wanted)
            return
        found = scales(self.spec, self.new, self.old, self.old_pods)
        for one in self.sets:
            self._set_size(one, found.get(name_of(one), size(one)))

    def _set_size(self, item: JSONObject, number: int) -> None:
        if number == size(item):
            return
        self._tell_scale(name_of(item), size(item), number)
        self._changed(item)["spec"]["replicas"] = number

    def _changed(self, item: JSONObject) -> JSONObject:
        return self.updates.setdefault(name_of(item), copy.deepcopy(item))

    def _tell_scale(self, name: str, before: int, after: int) -> None:
        word = "up" if after > before else "down"
        message = f"Scaled {word} replica set {name} from {before} to {after}"
        self.events.append(Happening("Normal", "ScalingReplicaSet", message))

    def _forgotten(self) -> tuple[Removal, ...]:
        """Old ReplicaSets beyond those that can be gone back to."""
        idle = [one for one in self.old if not size(one) and not status_of(one).get("replicas")]
        surplus = len(idle) - int(self.spec.get("revisionHistoryLimit", 10))
        return tuple(Removal(REPLICASET, one) for one in idle[: max(surplus, 0)])

    def _say(self) -> datetime | None:
        """Have the status say how far it is.

        Returns:
            When it is too late, if it is not so far.
        """
        before = dict(self.status)
        counts = {
            "replicas": _sum(self.sets, "replicas"),
            "updatedReplicas": _sum([self.new] if self.new else [], "replicas"),
            "readyReplicas": _sum(self.sets, "readyReplicas"),
            "availableReplicas": sum(map(available, self.sets)),
            "unavailableReplicas": max(self.wanted - sum(map(available, self.sets)), 0),
        }
        for word, number in counts.items():
            self.status.pop(word, None)
            if number:
                self.status[word] = number
        self.status["observedGeneration"] = self.item["metadata"].get("generation", 1)
        enough = counts["availableReplicas"] >= self.wanted - allowed_unavailable(self.spec)
        words = (
            ("has", "MinimumReplicasAvailable")
            if enough
            else (
                "does not have",
                "MinimumReplicasUnavailable",
            )
        )
        message = f"Deployment {words[0]} minimum availability."
        condition = {"type": "Available", "status": str(enough), "reason": words[1]}
        self._set({**condition, "message": message})
        if self.new is None or self.creations:
            return None
        return self._say_progress(self.new, counts, before)

    def _say_progress(
        self, new: JSONObject, counts: dict[str, int], before: dict[str, Any]
    ) -> datetime | None:
        who, updated = f'ReplicaSet "{name_of(new)}"', counts["updatedReplicas"]
        is_done = updated == counts["replicas"] == counts["availableReplicas"] == self.wanted
        if is_done:
            self._progress("True", "NewReplicaSetAvailable", f"{who} has successfully progressed.")
            return None
        old = condition_of(self.status, "Progressing") or {}
        moved = any(
            number != before.get(word, 0)
            for word, number in counts.items()
            if word != "unavailableReplicas"
        )
        was_there = old.get("reason") == "NewReplicaSetAvailable"
        begins = not old or (bool(self.updates) and any(map(size, self.old)))
        if begins or (moved and not was_there):
            self._progress("True", "ReplicaSetUpdated", f"{who} is progressing.", renew=True)
            old = condition_of(self.status, "Progressing") or {}
        if old.get("reason") == "NewReplicaSetAvailable" or self.spec.get("paused"):
            return None  # it was all there once: that a pod is lost is no roll-out
        seconds = self.spec.get("progressDeadlineSeconds", 600)
        deadline = moment(old["lastUpdateTime"]) + timedelta(seconds=seconds)
        if self.now < deadline:
            return deadline
        self._progress("False", "ProgressDeadlineExceeded", f"{who} has timed out progressing.")
        return None

    def _progress(self, status: str, reason: str, message: str, *, renew: bool = False) -> None:
        condition = {"type": "Progressing", "status": status, "reason": reason, "message": message}
        self._set(condition, renew=renew)

    def _set(self, condition: dict[str, str], *, renew: bool = False) -> None:
        found = condition_of(self.status, condition["type"]) or {}
        if renew or any(found.get(key) != value for key, value in condition.items()):
            set_condition(self.status, {**condition, "lastUpdateTime": stamp(self.now)}, self.now)


def _plain(template: JSONObject) -> JSONObject:
    """A template without the label that a ReplicaSet adds."""
    metadata = dict(template.get("metadata") or {})
    labels = {key: value for key, value in (metadata.get("labels") or {}).items() if key != HASH}
    metadata.pop("creationTimestamp", None)
    return {"metadata": {**metadata, "labels": labels}, "spec": template.get("spec")}


def _digest(template: JSONObject) -> str:
    """Ten letters that stand for a template, in names that spell no word."""
    found = hashlib.sha256(orjson.dumps(_plain(template), option=orjson.OPT_SORT_KEYS)).digest()
    return "".join(_LETTERS[byte % len(_LETTERS)] for byte in found[:10])


def _revision(item: JSONObject) -> int:
    text = annotations_of(item).get(REVISION, "")
    return int(text) if text.isdecimal() else 0


def _owner(pod: JSONObject) -> str:
    listed = pod["metadata"].get("ownerReferences") or ()
    return next((str(one["name"]) for one in listed if one.get("controller")), "")


def _sum(sets: Sequence[JSONObject], word: str) -> int:
    return sum(int(status_of(one).get(word, 0)) for one in sets)
