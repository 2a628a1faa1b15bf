"""Removing objects: at once, or when nobody holds them any more
(https://kubernetes.io/docs/concepts/architecture/garbage-collection/)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from retort.launch.cluster.kinds.errors import JSONObject, bad_request
from retort.launch.cluster.kinds.kind import Kind
from retort.launch.cluster.kinds.table import NAMESPACE, POD
from retort.launch.cluster.objects.metadata import check_preconditions
from retort.launch.cluster.objects.reading import Listing
from retort.launch.cluster.objects.registry import Registry
from retort.launch.cluster.objects.selectors import Selection

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"
"""Finalizers: what an object waits for is that its dependents are gone, or are nobody's."""
_FINALIZERS = {"Background": None, "Foreground": FOREGROUND, "Orphan": ORPHAN}
_FINISHED = ("Succeeded", "Failed")


@dataclass(frozen=True)
class Deletion:
    """How something is removed.

    Attributes:
        propagation: what becomes of its dependents: Background, Foreground, Orphan.
        grace_s: how long a pod may take to end; None for as long as it says itself.
        preconditions: uid and resourceVersion that the object must have.
    """

    propagation: str = "Background"
    grace_s: int | None = None
    preconditions: Mapping[str, str] = field(default_factory=dict)
    dry_run: bool = False


PLAINLY = Deletion()


def deletion_of(options: Mapping[str, Any]) -> Deletion:
    """What an object of kind DeleteOptions says.

    Raises:
        ApiError: an option is none that there is (400).
    """
    word = options.get("propagationPolicy")
    if word is None:
        word = "Orphan" if options.get("orphanDependents") else "Background"
    if not isinstance(word, str) or word not in _FINALIZERS:
        raise bad_request(f"propagationPolicy: {word!r} is none of {', '.join(_FINALIZERS)}")
    grace = options.get("gracePeriodSeconds")
    if grace is not None and (not isinstance(grace, int) or grace < 0):
        raise bad_request(f"gracePeriodSeconds: {grace!r} is not a whole number from 0 on")
    wanted = options.get("preconditions") or {}
    if not isinstance(wanted, dict):
        raise bad_request("preconditions: is not an object")
    return Deletion(word, grace, wanted, dry_run=bool(options.get("dryRun")))


def delete(
    registry: Registry, kind: Kind, namespace: str, name: str, deletion: Deletion = PLAINLY
) -> tuple[JSONObject, bool]:
    """Remove an object, or mark it as one that is being removed.

    A pod that has a node is ended by that first, and is gone when it is deleted once more with
    no grace. An object with finalizers is gone when the last one is taken away, a namespace when
    it is empty.

    Returns:
        The object, and whether it is gone.
    Raises:
        ApiError: it is not there (404), or is another (409).
    """
    with registry.store.lock:
        item = registry.get(kind, namespace, name)
        check_preconditions(kind, item, deletion.preconditions)
        metadata = item["metadata"]
        grace = _grace(kind, item, deletion.grace_s)
        finalizers = list(metadata.get("finalizers") or ())
        wanted = _FINALIZERS[deletion.propagation]
        if wanted and wanted not in finalizers and kind != NAMESPACE:
            finalizers.append(wanted)
        if not finalizers and not grace and kind != NAMESPACE:
            return registry.remove(kind, item, deletion.dry_run), True
        before = (metadata.get("finalizers"), metadata.get("deletionGracePeriodSeconds"))
        if finalizers:
            metadata["finalizers"] = finalizers
        if "deletionTimestamp" not in metadata or grace < metadata.get(
            "deletionGracePeriodSeconds", 0
        ):
            end = datetime.now(UTC) + timedelta(seconds=grace)
            metadata["deletionTimestamp"] = end.strftime("%Y-%m-%dT%H:%M:%SZ")
            metadata["deletionGracePeriodSeconds"] = grace
            if kind.has_generation:
                metadata["generation"] = metadata.get("generation", 0) + 1
        elif before[0] == metadata.get("finalizers"):
            return item, False  # it was asked for already
        if kind == NAMESPACE:
            item.setdefault("status", {})["phase"] = "Terminating"
        return registry.rewrite(kind, item, deletion.dry_run), False


def delete_all(
    registry: Registry, kind: Kind, selection: Selection, deletion: Deletion = PLAINLY
) -> Listing:
    """Remove all selected objects.

    Returns:
        Them, as they were.
    Raises:
        ApiError: a selector is wrong (400).
    """
    with registry.store.lock:
        listing = registry.list(kind, selection)
        for item in listing.items:
            metadata = item["metadata"]
            delete(registry, kind, metadata.get("namespace", ""), metadata["name"], deletion)
        return listing


def _grace(kind: Kind, item: JSONObject, wanted: int | None) -> int:
    """Seconds that a pod has to end. One that runs nowhere needs none."""
    if kind != POD:
        return 0
    spec, status = item.get("spec") or {}, item.get("status") or {}
    if not spec.get("nodeName") or status.get("phase") in _FINISHED:
        return 0
    return int(spec.get("terminationGracePeriodSeconds", 30)) if wanted is None else wanted
