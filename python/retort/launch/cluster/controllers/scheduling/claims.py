"""Claims: each is a folder of its own
(https://kubernetes.io/docs/concepts/storage/persistent-volumes/)."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path

from retort.core.atomic import storage_errors
from retort.core.errors import StorageError
from retort.launch.cluster.controllers.frame.events import Happening, Recorder
from retort.launch.cluster.controllers.frame.items import (
    FINISHED,
    ObjectKey,
    is_going,
    key_of,
    phase_of,
    spec_of,
    status_of,
)
from retort.launch.cluster.controllers.frame.loop import Mapped
from retort.launch.cluster.controllers.frame.watching import itself
from retort.launch.cluster.controllers.scheduling.placing import claim_names
from retort.launch.cluster.kinds.errors import JSONObject
from retort.launch.cluster.kinds.kind import Kind
from retort.launch.cluster.kinds.table import POD, kind_of
from retort.launch.cluster.objects.registry import Registry
from retort.launch.cluster.objects.selectors import Selection

CLAIM = kind_of("v1", "PersistentVolumeClaim")
STORAGE_CLASS = "local"
"""The class of claims that name none, and the only one."""
PROTECTION = "kubernetes.io/pvc-protection"
"""The finalizer of a claim, until no pod uses it."""
RELEASED = ".released"
"""The folder for what was written to claims that were deleted."""
_MODE = 0o777
"""Of a claim's folder: pods have users of their own."""


class Claims:
    """Binds claims, and keeps those that are used.

    Args:
        directory: `DIRECTORY/NAMESPACE/NAME` is the folder of a claim. What a deleted claim held is kept in
            `DIRECTORY/.released/NAMESPACE/NAME.UID`: a new claim of the same name is empty.
    """

    def __init__(self, registry: Registry, directory: Path) -> None:
        self._registry = registry
        self._directory = directory
        self._recorder = Recorder(registry, "persistentvolume-controller")
        self._said: dict[str, Happening] = {}

    @property
    def watched(self) -> Mapping[Kind, Mapped]:
        return {CLAIM: itself, POD: _of_pod}

    def reconcile(self, key: ObjectKey) -> datetime | None:
        claim = self._registry.find(CLAIM, *key)
        if claim is None:
            return None
        if is_going(claim):
            self._release(claim)
        elif status_of(claim).get("phase") == "Pending":
            self._bind(claim)
        return None

    def _bind(self, claim: JSONObject) -> None:
        wanted = spec_of(claim).get("storageClassName", STORAGE_CLASS)
        if wanted == "":
            why = "no persistent volumes available for this claim and no storage class is set"
            self._say_once(claim, Happening("Normal", "FailedBinding", why))
            return
        if wanted != STORAGE_CLASS:
            why = f'storageclass.storage.k8s.io "{wanted}" not found'
            self._say_once(claim, Happening("Warning", "ProvisioningFailed", why))
            return
        try:
            self._make(key_of(claim))
        except StorageError as error:
            why = f'failed to provision volume with StorageClass "{STORAGE_CLASS}": {error}'
            self._say_once(claim, Happening("Warning", "ProvisioningFailed", why))
            raise
        volume = f"pvc-{claim['metadata']['uid']}"
        metadata, spec = claim["metadata"], claim["spec"]
        metadata.setdefault("annotations", {})["pv.kubernetes.io/bind-completed"] = "yes"
        kept = [one for one in metadata.get("finalizers") or () if one != PROTECTION]
        metadata["finalizers"] = [*kept, PROTECTION]
        spec |= {"storageClassName": STORAGE_CLASS, "volumeName": volume}
        claim["status"] = {
            "phase": "Bound",
            "accessModes": spec["accessModes"],
            "capacity": {"storage": spec["resources"]["requests"]["storage"]},
        }
        self._registry.rewrite(CLAIM, claim)
        word = f"Successfully provisioned volume {volume}"
        self._recorder.record(CLAIM, claim, Happening("Normal", "ProvisioningSucceeded", word))

    def _make(self, key: ObjectKey) -> None:
        folder = self._directory / key.namespace / key.name
        with storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(_MODE)

    def _release(self, claim: JSONObject) -> None:
        """Let a claim go that no pod uses any more, and keep what was written to it."""
        namespace, name = key_of(claim)
        metadata = claim["metadata"]
        if PROTECTION not in (metadata.get("finalizers") or ()):
            return
        pods = self._registry.list(POD, Selection(namespace)).items
        if any(
            name in claim_names(pod)
            and spec_of(pod).get("nodeName")
            and phase_of(pod) not in FINISHED
            for pod in pods
        ):
            return
        folder = self._directory / namespace / name
        kept = self._directory / RELEASED / namespace / f"{name}.{metadata['uid']}"
        with storage_errors(folder):
            kept.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                os.rename(folder, kept)
            with contextlib.suppress(OSError):
                kept.rmdir()  # there was nothing
        self._registry.modify(CLAIM, namespace, name, _unprotected)

    def _say_once(self, claim: JSONObject, happening: Happening) -> None:
        """Tell why a claim is not bound. It is looked at whenever a pod that names it changes."""
        uid = claim["metadata"]["uid"]
        if self._said.get(uid) != happening:
            self._said[uid] = happening
            self._recorder.record(CLAIM, claim, happening)


def _of_pod(pod: JSONObject) -> Iterator[ObjectKey]:
    for name in claim_names(pod):
        yield ObjectKey(key_of(pod).namespace, name)


def _unprotected(claim: JSONObject) -> JSONObject:
    metadata = claim["metadata"]
    metadata["finalizers"] = [one for one in metadata["finalizers"] if one != PROTECTION]
    return claim
