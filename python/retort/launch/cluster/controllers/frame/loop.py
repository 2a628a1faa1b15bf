"""The thread of all controllers: it follows the changes of the store and looks at what they concern."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple, Protocol

import orjson

from retort.core.errors import RetortError
from retort.launch.cluster.controllers.frame.items import ObjectKey
from retort.launch.cluster.controllers.frame.queue import WorkQueue
from retort.launch.cluster.kinds.errors import ApiError, JSONObject
from retort.launch.cluster.kinds.kind import Kind
from retort.launch.cluster.objects.registry import Registry
from retort.launch.cluster.store.store import RevisionForgotten

_log = logging.getLogger(__name__)
_LONGEST_WAIT_S = 3600.0

Mapped = Callable[[JSONObject], Iterable[ObjectKey]]
"""Which keys of a controller an object concerns, that was made, changed or removed."""


class Controller(Protocol):
    """Makes the objects of one kind true.

    Attributes:
        watched: the kinds whose changes concern it.
    """

    @property
    def watched(self) -> Mapping[Kind, Mapped]: ...

    def reconcile(self, key: ObjectKey) -> datetime | None:
        """Compare what is with what is wanted, and act. The store's lock is held: nobody comes between.

        Returns:
            When to look again though nothing has changed.
        Raises:
            RetortError: it could not; it is tried again.
        """


class _Work(NamedTuple):
    """A key of the controller of a number."""

    number: int
    key: ObjectKey

    def told(self, controller: Controller) -> str:
        """For people."""
        return f"{type(controller).__name__}: {'/'.join(self.key)}"


class Loop:
    """Runs controllers until it is closed."""

    def __init__(self, registry: Registry, controllers: Sequence[Controller]) -> None:
        self._registry = registry
        self._controllers = controllers
        self._queue: WorkQueue[_Work] = WorkQueue(time.monotonic)
        self._since: int | None = None
        self._woken = threading.Event()
        self._closed = False
        self._end = registry.store.listen(self._woken.set)
        self._thread = threading.Thread(target=self._run, name="controllers", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End, after what has begun."""
        self._closed = True
        self._end()
        self._woken.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closed:
            self._woken.clear()
            self._follow()
            work = self._queue.take()
            if work is not None:
                self._reconcile(work)
                self._woken.set()
                continue
            wait = self._queue.wait_s()
            self._woken.wait(_LONGEST_WAIT_S if wait is None else min(wait, _LONGEST_WAIT_S))

    def _reconcile(self, work: _Work) -> None:
        controller = self._controllers[work.number]
        try:
            with self._registry.store.lock:
                again = controller.reconcile(work.key)
        except ApiError as error:
            _log.debug("%s: %s", work.told(controller), error)
            self._queue.retry(work)
        except RetortError as error:
            # Such as a full disk: it is done when there is room.
            _log.warning("%s: %s; trying again", work.told(controller), error)
            self._queue.retry(work)
        except Exception as error:
            # An object that no one has foreseen must not end the work on all others.
            if self._queue.retry(work) == 1:
                _log.exception("%s: %s; trying again", work.told(controller), error)
        else:
            self._queue.forget(work)
            if again is not None:
                self._queue.add(work, (again - datetime.now(UTC)).total_seconds())

    def _follow(self) -> None:
        """Queue what the changes since the last time concern; everything, the first time."""
        since, self._since = self._since, self._registry.store.revision
        try:
            changes = None if since is None else self._registry.store.changes_after(since)
        except RevisionForgotten:
            changes = None
        if changes is None:
            self._list()
            return
        for change in changes:
            self._since = max(self._since, change.revision)
            watching = [
                (number, mapped)
                for number, controller in enumerate(self._controllers)
                for kind, mapped in controller.watched.items()
                if kind.storage == change.key.resource
            ]
            contents = (change.before, change.after) if watching else ()
            for content in contents:
                if content is not None:
                    item = orjson.loads(content)
                    for number, mapped in watching:
                        self._add(number, mapped, item)

    def _list(self) -> None:
        for number, controller in enumerate(self._controllers):
            for kind, mapped in controller.watched.items():
                for item in self._registry.list(kind).items:
                    self._add(number, mapped, item)

    def _add(self, number: int, mapped: Mapped, item: JSONObject) -> None:
        try:
            for key in mapped(item):
                self._queue.add(_Work(number, key))
        except Exception as error:
            _log.exception("%s: %s", type(self._controllers[number]).__name__, error)
