"""What a controller wants done, as data: pure functions return it, `act` does it."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus

from retort.launch.cluster.controllers.frame.events import Happening, Recorder
from retort.launch.cluster.controllers.frame.items import key_of
from retort.launch.cluster.kinds.errors import ApiError, JSONObject
from retort.launch.cluster.kinds.kind import Kind
from retort.launch.cluster.objects.deletion import Deletion, delete
from retort.launch.cluster.objects.registry import Registry
from retort.launch.cluster.objects.writing import Writing


@dataclass(frozen=True)
class Creation:
    """An object to make.

    Attributes:
        reason: of the event when it is made; with `Failed` instead of `Successful` when it is not. Empty: none.
    """

    kind: Kind
    item: JSONObject
    reason: str = ""


@dataclass(frozen=True)
class Removal:
    """An object to delete: this one, not another of the same name.

    Attributes:
        reason: of the event when it is deleted. Empty: none.
        propagation: what becomes of its dependents.
    """

    kind: Kind
    item: JSONObject
    reason: str = ""
    propagation: str = "Background"


@dataclass(frozen=True)
class Outcome:
    """What is to be done about an object, and when to look again.

    Attributes:
        status: its new status; None leaves it.
        annotations: that it is to have besides.
        events: what has happened to it.
        updates: other objects, as they are to be, before anything is deleted or made.
        again_at: when to look though nothing has changed; None for never.
    """

    status: JSONObject | None = None
    annotations: Mapping[str, str] | None = None
    events: tuple[Happening, ...] = ()
    updates: tuple[tuple[Kind, JSONObject], ...] = ()
    removals: tuple[Removal, ...] = ()
    creations: tuple[Creation, ...] = ()
    again_at: datetime | None = None


NOTHING = Outcome()


def act(
    registry: Registry, recorder: Recorder, kind: Kind, item: JSONObject, outcome: Outcome
) -> datetime | None:
    """Do what an outcome says. Its caller holds the store's lock since it has read what the outcome is from.

    The status comes first: what follows from it can be done again by whoever finds it half done.

    Returns:
        When to look again.
    Raises:
        ApiError: an object cannot be made or changed.
        StorageError: the disk does not take it.
    """
    namespace, name = key_of(item)
    writer = recorder.component
    if outcome.annotations:
        _annotate(registry, kind, item, outcome.annotations, writer)
    if outcome.status is not None and outcome.status != item.get("status"):
        status = outcome.status
        registry.modify(
            *(kind, namespace, name),
            lambda found: {**found, "status": status},
            Writing(writer, subresource="status"),
        )
    for event in outcome.events:
        recorder.record(kind, item, event)
    for other, wanted in outcome.updates:
        registry.update(other, *key_of(wanted), wanted, Writing(writer))
    for removal in outcome.removals:
        _remove(registry, recorder, kind, item, removal)
    for creation in outcome.creations:
        _create(registry, recorder, kind, item, creation)
    return outcome.again_at


def _annotate(
    registry: Registry, kind: Kind, item: JSONObject, wanted: Mapping[str, str], writer: str
) -> None:
    def change(found: JSONObject) -> JSONObject:
        metadata = found["metadata"]
        metadata["annotations"] = {**(metadata.get("annotations") or {}), **wanted}
        return found

    registry.modify(kind, *key_of(item), change, Writing(writer))


def _remove(
    registry: Registry, recorder: Recorder, kind: Kind, item: JSONObject, removal: Removal
) -> None:
    found = removal.item
    deletion = Deletion(removal.propagation, preconditions={"uid": found["metadata"]["uid"]})
    with suppress(ApiError):  # it has gone, or is another of that name
        delete(registry, removal.kind, *key_of(found), deletion)
        if removal.reason:
            word = f"Deleted {removal.kind.singular}: {found['metadata']['name']}"
            recorder.record(kind, item, Happening("Normal", removal.reason, word))


def _create(
    registry: Registry, recorder: Recorder, kind: Kind, item: JSONObject, creation: Creation
) -> None:
    namespace, _ = key_of(item)
    try:
        made = registry.create(creation.kind, namespace, creation.item, Writing(recorder.component))
    except ApiError as error:
        if error.code == HTTPStatus.FORBIDDEN and "being terminated" in error.message:
            return
        if creation.reason:
            reason = creation.reason.replace("Successful", "Failed")
            word = f"Error creating: {error.message}"
            recorder.record(kind, item, Happening("Warning", reason, word))
        raise
    if creation.reason:
        word = f"Created {creation.kind.singular}: {made['metadata']['name']}"
        recorder.record(kind, item, Happening("Normal", creation.reason, word))
