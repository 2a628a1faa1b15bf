"""Objects as they are, as they were, and as they become."""

import base64
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Literal, Self

import orjson

from retort.launch.cluster.kinds.errors import (
    ApiError,
    JSONObject,
    bad_request,
    expired,
    not_found,
)
from retort.launch.cluster.kinds.kind import Kind
from retort.launch.cluster.objects.selectors import Selection, matcher
from retort.launch.cluster.objects.views import shown_as
from retort.launch.cluster.store.store import Change, Key, RevisionForgotten, Store

EVERYTHING = Selection()


@dataclass(frozen=True)
class Page:
    """How much of a list is wanted, and of when.

    Attributes:
        limit: at most so many; 0 for all.
        token: where an earlier page ended; empty for the first.
        revision: the state after this change; None for the latest.
    """

    limit: int = 0
    token: str = ""
    revision: int | None = None


WHOLE = Page()


@dataclass(frozen=True)
class Listing:
    """Objects, all of one moment.

    Attributes:
        revision: from which a watch goes on.
        token: for the next page; empty on the last.
        remaining: how many come after this page.
    """

    items: list[JSONObject]
    revision: int
    token: str = ""
    remaining: int = 0


@dataclass(frozen=True)
class WatchEvent:
    """What has happened to an object, as whoever has selected it sees it."""

    type: Literal["ADDED", "MODIFIED", "DELETED"]
    item: JSONObject
    revision: int


class Watch:
    """Every change of the selected objects after a revision, in order.

    Iterating waits for the next one, until `close`. Whoever cannot wait takes what there is
    (`pending`) whenever it is called (`listen`).
    """

    def __init__(self, store: Store, kind: Kind, selection: Selection, since: int) -> None:
        self._store = store
        self._kind = kind
        self._is_selected = matcher(kind, selection)
        self._since = since
        self._woken = threading.Event()
        self._closed = False
        self._end = store.listen(self._woken.set)

    @property
    def revision(self) -> int:
        """Up to which change everything was told."""
        return self._since

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[WatchEvent]:
        while not self._closed:
            self._woken.clear()
            yield from self.pending()
            self._woken.wait()

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Have a function called whenever something may be pending (`Store.listen`)."""
        return self._store.listen(listener)

    def pending(self) -> list[WatchEvent]:
        """What has happened since it was asked last.

        Raises:
            ApiError: some of it is forgotten (410): list anew.
        """
        try:
            changes = self._store.changes_after(self._since)
        except RevisionForgotten as error:
            raise expired(
                f"too old resource version: {self._since} ({self._store.revision})"
            ) from error
        events = []
        for change in changes:
            if change.key.resource == self._kind.storage and (event := self._event(change)):
                events.append(event)
            self._since = change.revision
        return events

    def close(self) -> None:
        """End, also for whoever iterates in another thread."""
        self._closed = True
        self._end()
        self._woken.set()

    def _event(self, change: Change) -> WatchEvent | None:
        before, after = self._selected(change.before), self._selected(change.after)
        if after is not None:
            item = shown_as(self._kind, after)
            return WatchEvent("ADDED" if before is None else "MODIFIED", item, change.revision)
        if before is None:
            return None
        # Gone, or no longer selected: the last that was selected, with the number of its end.
        before["metadata"]["resourceVersion"] = str(change.revision)
        return WatchEvent("DELETED", shown_as(self._kind, before), change.revision)

    def _selected(self, content: bytes | None) -> JSONObject | None:
        """An object where there is one, and it is selected."""
        if content is None:
            return None
        item: JSONObject = orjson.loads(content)
        return item if self._is_selected(item) else None


class Reader:
    """What can be asked of a store's objects. Any thread may."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def get(self, kind: Kind, namespace: str, name: str) -> JSONObject:
        """An object, which is the caller's own copy.

        Raises:
            ApiError: it is not there (404).
        """
        found = self.find(kind, namespace, name)
        if found is None:
            raise not_found(kind, name)
        return found

    def find(self, kind: Kind, namespace: str, name: str) -> JSONObject | None:
        """As `get`; None if it is not there."""
        stored = self.store.read(key_of(kind, namespace, name))
        return None if stored is None else shown_as(kind, orjson.loads(stored.content))

    def list(self, kind: Kind, selection: Selection = EVERYTHING, page: Page = WHOLE) -> Listing:
        """The selected objects, in the order of namespace and name.

        Raises:
            ApiError: a selector or token is wrong (400), or the moment is forgotten (410) or to come (504).
        """
        is_selected = matcher(kind, selection)
        revision, start = page.revision, Key("", "", "")
        if page.token:
            revision, start = _read_token(page.token)
        if revision is not None and revision > self.store.revision:
            raise ApiError(
                HTTPStatus.GATEWAY_TIMEOUT,
                "Timeout",
                f"Too large resource version: {revision}, current: {self.store.revision}",
            )
        try:
            moment, objects = self.store.snapshot(kind.storage, revision)
        except RevisionForgotten as error:
            raise expired(
                "The provided continue parameter is too old to display a consistent list result. You "
                "can start a new list without the continue parameter."
                if page.token
                else f"too old resource version: {revision} ({self.store.revision})"
            ) from error
        found = [
            (key, item)
            for key, stored in objects.items()
            if key > start and is_selected(item := orjson.loads(stored.content))
        ]
        shown = found[: page.limit] if page.limit else found
        rest = len(found) - len(shown)
        token = _write_token(moment, shown[-1][0]) if rest else ""
        return Listing([shown_as(kind, item) for _, item in shown], moment, token, rest)

    def watch(
        self, kind: Kind, selection: Selection = EVERYTHING, since: int | None = None
    ) -> Watch:
        """Every change from a revision on; from now on without one.

        Raises:
            ApiError: a selector is wrong (400).
        """
        return Watch(self.store, kind, selection, self.store.revision if since is None else since)


def key_of(kind: Kind, namespace: str, name: str) -> Key:
    """Where an object is kept."""
    return Key(kind.storage, namespace if kind.namespaced else "", name)


def _write_token(revision: int, last: Key) -> str:
    return base64.urlsafe_b64encode(json.dumps([revision, *last]).encode()).decode()


def _read_token(token: str) -> tuple[int, Key]:
    try:
        revision, resource, namespace, name = json.loads(base64.urlsafe_b64decode(token))
        return int(revision), Key(str(resource), str(namespace), str(name))
    except (ValueError, TypeError) as error:
        raise bad_request("continue key is not valid") from error
