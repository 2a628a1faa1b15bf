"""Objects, and every way to write them. Controllers use it as the HTTP server does."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from retort.launch.cluster.admission.admission import ADMISSION
from retort.launch.cluster.admission.write import Admission, Write
from retort.launch.cluster.kinds.errors import (
    MODIFIED,
    Cause,
    JSONObject,
    already_exists,
    bad_request,
    conflict,
    forbidden,
    invalid,
    not_found,
)
from retort.launch.cluster.kinds.kind import Kind
from retort.launch.cluster.kinds.table import NAMESPACE
from retort.launch.cluster.objects.checking import checked
from retort.launch.cluster.objects.metadata import kept_metadata, new_metadata, now
from retort.launch.cluster.objects.reading import Reader, key_of
from retort.launch.cluster.objects.views import kept_as, shown_as
from retort.launch.cluster.objects.writing import PLAINLY, Writing
from retort.launch.cluster.patches.apply import applied
from retort.launch.cluster.patches.managed import Writer, track_update, without_times
from retort.launch.cluster.store.store import Store


class Registry(Reader):
    """What the API server does to objects, without HTTP. Any thread may use it; objects are copies.

    Args:
        admission: called in this order with everything that is written.
    """

    def __init__(self, store: Store, admission: Sequence[Admission] = ADMISSION) -> None:
        super().__init__(store)
        self._admission = admission

    def create(
        self, kind: Kind, namespace: str, item: JSONObject, writing: Writing = PLAINLY
    ) -> JSONObject:
        """Make an object.

        Returns:
            It, as it was kept.
        Raises:
            ApiError: it cannot be (400, 403, 422), its namespace is not there (404), or it is there (409).
            StorageError: the disk does not take it.
        """
        item = self._own(kind, namespace, "", item, writing)
        return self._create(kind, namespace, item, writing, "Update")

    def update(
        self, kind: Kind, namespace: str, name: str, item: JSONObject, writing: Writing = PLAINLY
    ) -> JSONObject:
        """Replace an object. Where `item` says a resourceVersion, it must be the present one.

        Raises:
            ApiError: as `create`; it is not there (404), or was written by another (409).
        """
        item = self._own(kind, namespace, name, item, writing)
        if kind.is_custom and not item["metadata"].get("resourceVersion"):
            cause = Cause(
                "metadata.resourceVersion", "Invalid value: 0: must be specified for an update"
            )
            raise invalid(kind, name, [cause])
        with self.store.lock:
            return self._update(kind, self._kept(kind, namespace, name), item, writing)

    def modify(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        change: Callable[[JSONObject], JSONObject],
        writing: Writing = PLAINLY,
    ) -> JSONObject:
        """Replace an object by what a function makes of its present state; nobody comes between.

        Args:
            change: is given a copy, which it may alter, and returns the object wanted.
        Raises:
            ApiError: as `update`, or from `change`.
        """
        with self.store.lock:
            before = self._kept(kind, namespace, name)
            item = change(self.get(kind, namespace, name))
            item = self._own(kind, namespace, name, item, writing)
            return self._update(kind, before, item, writing)

    def apply(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        config: JSONObject,
        writing: Writing = PLAINLY,
    ) -> tuple[JSONObject, bool]:
        """Server-side apply: make the object, or merge into it what one manager wants of it
        (https://kubernetes.io/docs/reference/using-api/server-side-apply/).

        Args:
            config: the fields that `writing.manager` has an opinion on, and no others.
        Returns:
            The object, and whether it was made.
        Raises:
            ApiError: as `create`; another manager has other values (409), named one by one.
        """
        if (config.get("metadata") or {}).get("managedFields"):
            raise bad_request("metadata.managedFields must be nil")
        config = self._own(kind, namespace, name, config, writing)
        with self.store.lock:
            before = self._find_kept(kind, namespace, name)
            writer = Writer(writing.manager, writing.subresource, now())
            if before is None:
                if writing.subresource:
                    raise not_found(kind, name)
                if config["metadata"].get("uid"):
                    why = "uid mismatch: the provided object specified uid, and no existing object was found"
                    raise conflict(kind, name, why)
                made = applied(kind, None, config, writer, force=writing.force)
                return self._create(kind, namespace, made, writing, "Apply"), True
            given = config["metadata"].get("resourceVersion")
            if given and given != before["metadata"]["resourceVersion"]:
                raise conflict(kind, name, MODIFIED)
            after = applied(kind, before, config, writer, force=writing.force)
            return self._update(kind, before, after, writing, is_tracked=True), False

    def remove(self, kind: Kind, item: JSONObject, dry_run: bool = False) -> JSONObject:
        """Take an object out of the store, whatever would keep it there.

        Returns:
            Its last state.
        """
        metadata = item["metadata"]
        if not dry_run:
            self.store.write(
                key_of(kind, metadata.get("namespace", ""), metadata["name"]), lambda _: None
            )
        return shown_as(kind, item)

    def rewrite(self, kind: Kind, item: JSONObject, dry_run: bool = False) -> JSONObject:
        """Keep an object as it is given. For what the server itself does with its metadata."""
        return self._write(kind, kept_as(kind, item), Writing(dry_run=dry_run))

    def _create(
        self, kind: Kind, namespace: str, item: JSONObject, writing: Writing, operation: str
    ) -> JSONObject:
        item["metadata"] = new_metadata(kind, namespace, item)
        name = item["metadata"]["name"]
        if kind.has_status:
            item.pop("status", None)
        with self.store.lock:
            if kind.namespaced:
                self._check_namespace(kind, namespace, name)
            if self._find_kept(kind, namespace, name) is not None:
                raise already_exists(kind, name)
            self._admit(Write(kind, namespace, name, None), item)
            if operation == "Update":
                track_update(kind, {}, item, Writer(writing.manager, "", now()))
            return self._write(kind, item, writing)

    def _update(
        self,
        kind: Kind,
        before: JSONObject,
        item: JSONObject,
        writing: Writing,
        is_tracked: bool = False,
    ) -> JSONObject:
        metadata = kept_metadata(kind, before, item)
        namespace, name = metadata.get("namespace", ""), metadata["name"]
        if writing.subresource == "status":
            managed = metadata.get("managedFields")
            after = {**before, "metadata": {**before["metadata"], "managedFields": managed}}
            after.pop("status", None)
            if "status" in item:
                after["status"] = item["status"]
        else:
            after = {**item, "metadata": metadata}
            if kind.has_status:
                after.pop("status", None)
                if "status" in before:
                    after["status"] = before["status"]
        self._admit(Write(kind, namespace, name, before, writing.subresource), after)
        if kind.has_generation and _asked(after) != _asked(before):
            metadata = after["metadata"]
            metadata["generation"] = before["metadata"].get("generation", 0) + 1
        if not is_tracked:
            writer = Writer(writing.manager, writing.subresource, now())
            track_update(kind, before, after, writer)
        if without_times(after) == without_times(before):
            return shown_as(kind, before)
        if _is_over(kind, after):
            return self.remove(kind, after, writing.dry_run)
        return self._write(kind, after, writing)

    def _own(
        self, kind: Kind, namespace: str, name: str, item: JSONObject, writing: Writing
    ) -> JSONObject:
        """A checked copy of what was sent, as it is kept."""
        sent = (item.get("apiVersion") or kind.api_version, item.get("kind") or kind.kind)
        if sent != (kind.api_version, kind.kind):
            raise bad_request(
                f"the API version and kind in the data ({sent[0]}, {sent[1]}) do not match the expected "
                f"({kind.api_version}, {kind.kind})"
            )
        item = checked(kind, item, writing.validation, writing.warn)
        metadata = item.setdefault("metadata", {})
        if kind.namespaced and metadata.get("namespace", namespace) != namespace:
            raise bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
        if name and metadata.get("name", name) != name:
            raise bad_request(
                f"the name of the object ({metadata['name']}) does not match the name on the URL ({name})"
            )
        if name:
            metadata["name"] = name
        item["apiVersion"], item["kind"] = kind.api_version, kind.kind
        return kept_as(kind, item)

    def _find_kept(self, kind: Kind, namespace: str, name: str) -> JSONObject | None:
        stored = self.store.read(key_of(kind, namespace, name))
        return None if stored is None else orjson.loads(stored.content)

    def _kept(self, kind: Kind, namespace: str, name: str) -> JSONObject:
        found = self._find_kept(kind, namespace, name)
        if found is None:
            raise not_found(kind, name)
        return found

    def _check_namespace(self, kind: Kind, namespace: str, name: str) -> None:
        found = self.find(NAMESPACE, "", namespace)
        if found is None:
            raise not_found(NAMESPACE, namespace)
        if "deletionTimestamp" in found["metadata"]:
            error = forbidden(
                kind,
                name,
                f"unable to create new content in namespace {namespace} because it is being terminated",
            )
            error.details["causes"] = [
                {
                    "reason": "NamespaceTerminating",
                    "message": f"namespace {namespace} is being terminated",
                    "field": "metadata.namespace",
                }
            ]
            raise error

    def _admit(self, write: Write, item: JSONObject) -> None:
        for admit in self._admission:
            admit(write, item)

    def _write(self, kind: Kind, item: JSONObject, writing: Writing) -> JSONObject:
        metadata = item["metadata"]
        if writing.dry_run:
            return shown_as(kind, item)

        def encode(revision: int) -> bytes:
            metadata["resourceVersion"] = str(revision)
            return orjson.dumps(item)

        self.store.write(key_of(kind, metadata.get("namespace", ""), metadata["name"]), encode)
        return shown_as(kind, item)


def _asked(item: Mapping[str, Any]) -> JSONObject:
    """What of an object its users want, apart from what is so and what it is called."""
    return {key: value for key, value in item.items() if key not in ("metadata", "status")}


def _is_over(kind: Kind, item: JSONObject) -> bool:
    """Whether nothing keeps an object that is being deleted."""
    metadata = item["metadata"]
    if "deletionTimestamp" not in metadata or metadata.get("finalizers"):
        return False
    if kind == NAMESPACE:
        return not (item.get("spec") or {}).get("finalizers")
    return not metadata.get("deletionGracePeriodSeconds")
