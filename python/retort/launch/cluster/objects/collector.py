"""What follows from a removal: dependents go, namespaces are emptied, who waited for that goes too.

A controller of the server's own, in a thread, over the same registry as all others.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from retort.core.errors import RetortError
from retort.launch.cluster.kinds.errors import ApiError, JSONObject
from retort.launch.cluster.kinds.kind import Kind
from retort.launch.cluster.kinds.table import KINDS, NAMESPACE, NEW_EVENT
from retort.launch.cluster.objects.deletion import FOREGROUND, ORPHAN, Deletion, delete
from retort.launch.cluster.objects.registry import Registry
from retort.launch.cluster.objects.selectors import Selection
from retort.launch.cluster.store.store import RevisionForgotten

_log = logging.getLogger(__name__)
_RETRY_S = 1.0
_TELLING = (b'"deletionTimestamp":', b'"ownerReferences":')
"""What the JSON of an object has that is going, or has owners."""


@dataclass(frozen=True)
class _Object:
    kind: Kind
    item: JSONObject

    @property
    def metadata(self) -> dict[str, Any]:
        return dict(self.item["metadata"])

    @property
    def is_going(self) -> bool:
        return "deletionTimestamp" in self.metadata

    @property
    def owners(self) -> list[dict[str, Any]]:
        return list(self.metadata.get("ownerReferences") or ())

    def waits_for(self, finalizer: str) -> bool:
        """Whether it is going, once that finalizer is taken away."""
        return self.is_going and finalizer in (self.metadata.get("finalizers") or ())


class Collector:
    """Cleans up behind removals until it is closed."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._since: int | None = None  # a run before may have ended in the middle
        self._woken = threading.Event()
        self._woken.set()
        self._closed = False
        self._end = registry.store.listen(self._woken.set)
        self._thread = threading.Thread(target=self._run, name="collector", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End, after what has begun."""
        self._closed = True
        self._end()
        self._woken.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            self._woken.wait()
            if self._closed:
                return
            self._woken.clear()
            try:
                if self._is_wanted():
                    while collect(self._registry):
                        pass
            except RetortError as error:
                # Such as a full disk: what is left over is taken up when there is room.
                _log.warning("cleaning up: %s", error)
                self._since = None
                self._woken.wait(_RETRY_S)
                self._woken.set()

    def _is_wanted(self) -> bool:
        """Whether anything has changed from which something may follow: most changes are of a status."""
        since, self._since = self._since, self._registry.store.revision
        if since is None:
            return True
        try:
            changes = self._registry.store.changes_after(since)
        except RevisionForgotten:
            return True
        return any(
            change.after is None or any(word in change.after for word in _TELLING)
            for change in changes
        )


def collect(registry: Registry) -> bool:
    """Do what follows from removals, once over all objects.

    Returns:
        Whether anything was done, from which more may follow.
    Raises:
        StorageError: the disk does not take it.
    """
    objects = list(_objects(registry))
    there = {one.metadata["uid"]: one for one in objects}
    return any(
        [
            *(_emptied(registry, one, objects) for one in objects if one.kind == NAMESPACE),
            *(_followed(registry, one, there) for one in objects if one.owners),
            *(_released(registry, one, objects) for one in objects if one.is_going),
        ]
    )


def _objects(registry: Registry) -> Iterator[_Object]:
    for kind in KINDS:
        if kind != NEW_EVENT:
            yield from (_Object(kind, item) for item in registry.list(kind).items)


def _emptied(registry: Registry, namespace: _Object, objects: list[_Object]) -> bool:
    """Remove what is in a namespace that is being removed, and then itself."""
    if not namespace.is_going:
        return False
    name = namespace.metadata["name"]
    inside = [one for one in objects if one.metadata.get("namespace") == name]
    if inside:
        staying = [one for one in inside if not one.is_going]
        for one in staying:
            _removed(registry, one, "Background")
        return bool(staying)
    if namespace.metadata.get("finalizers"):
        return False
    with registry.store.lock:
        # Nothing new can have come: the registry makes nothing in a namespace that is going.
        if any(registry.list(kind, Selection(name)).items for kind in KINDS if kind.namespaced):
            return True
        registry.remove(NAMESPACE, namespace.item)
    return True


def _followed(registry: Registry, one: _Object, there: dict[str, _Object]) -> bool:
    """Remove an object whose owners are all gone, or are going and wait for it."""
    if one.is_going:
        return False
    owners = [there[ref["uid"]] for ref in one.owners if ref["uid"] in there]
    if all(owner.waits_for(FOREGROUND) for owner in owners):
        return _removed(registry, one, "Foreground" if owners else "Background")
    return False


def _released(registry: Registry, one: _Object, objects: list[_Object]) -> bool:
    """Take the finalizer from an object that has waited for its dependents and has none left."""
    uid = one.metadata["uid"]
    dependents = [other for other in objects if any(ref["uid"] == uid for ref in other.owners)]
    if one.waits_for(ORPHAN):
        for other in dependents:
            _changed(registry, other, lambda item: _disowned(item, uid))
        return _changed(registry, one, lambda item: _unheld(item, ORPHAN))
    if one.waits_for(FOREGROUND) and not any(
        ref["uid"] == uid and ref.get("blockOwnerDeletion")
        for other in dependents
        for ref in other.owners
    ):
        return _changed(registry, one, lambda item: _unheld(item, FOREGROUND))
    return False


def _disowned(item: JSONObject, uid: str) -> JSONObject:
    metadata = item["metadata"]
    metadata["ownerReferences"] = [
        one for one in metadata.get("ownerReferences") or () if one["uid"] != uid
    ]
    return item


def _unheld(item: JSONObject, finalizer: str) -> JSONObject:
    metadata = item["metadata"]
    metadata["finalizers"] = [one for one in metadata.get("finalizers") or () if one != finalizer]
    return item


def _removed(registry: Registry, one: _Object, propagation: str) -> bool:
    metadata = one.metadata
    wanted = Deletion(propagation, preconditions={"uid": metadata["uid"]})
    with suppress(ApiError):  # it has gone meanwhile, or is another of the same name
        delete(registry, one.kind, metadata.get("namespace", ""), metadata["name"], wanted)
    return True


def _changed(registry: Registry, one: _Object, change: Callable[[JSONObject], JSONObject]) -> bool:
    metadata = one.metadata
    with suppress(ApiError):
        registry.modify(one.kind, metadata.get("namespace", ""), metadata["name"], change)
    return True
