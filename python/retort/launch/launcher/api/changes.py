"""Objects as they are and become: listed once, watched from then on, listed anew when behind."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from retort.core.errors import RetortError
from retort.launch.launcher.api.client import Api
from retort.launch.launcher.api.refusals import (
    ClusterFailed,
    NoSuchKind,
    Quiet,
    Refused,
    Unreachable,
)
from retort.launch.launcher.api.resources import Object, Resource

_GONE = 410
_AGAIN_S = 2.0
"""Until it is tried again, when the server does not answer."""


@dataclass(frozen=True)
class Selected:
    """Which objects of a namespace."""

    resource: Resource
    labels: str = ""
    fields: str = ""


@dataclass(frozen=True)
class Change:
    """What has happened.

    Attributes:
        type: `listed` when all is known that there is; `lost` when the server does not answer, and
            `failed` when it will not, for which `error` is.
        item: None where none is meant.
    """

    type: Literal["there", "gone", "listed", "lost", "failed"]
    resource: Resource
    item: Object | None = None
    error: RetortError | None = None


class Following(threading.Thread):
    """Tells every change of the selected objects, in order, until `end`."""

    def __init__(self, api: Api, selected: Selected, tell: Callable[[Change], None]) -> None:
        super().__init__(name=f"following {selected.resource.plural}", daemon=True)
        self._api, self._selected, self._tell = api, selected, tell
        self._known: dict[str, Object] = {}
        self._since = ""
        self._ended = threading.Event()
        self.start()

    def end(self) -> None:
        """Tell no more. What it waits for is left to the process's end."""
        self._ended.set()

    def run(self) -> None:
        while not self._ended.is_set():
            try:
                self._watch(self._since or self._list())
            except Quiet:
                continue
            except (Unreachable, ClusterFailed) as error:
                self._say("lost", error=error)
                self._ended.wait(_AGAIN_S)
            except Refused as error:
                if error.status != _GONE:
                    self._say("failed", error=error)
                    return
                self._since = ""
            except NoSuchKind as error:
                self._say("failed", error=error)
                return

    def _list(self) -> str:
        one = self._selected
        items, since = self._api.list(one.resource, one.labels, one.fields)
        there = {item["metadata"]["uid"]: item for item in items}
        for uid, item in list(self._known.items()):
            if uid not in there:
                self._say("gone", self._known.pop(uid, item))
        for item in items:
            self._see(item)
        self._say("listed")
        return since

    def _watch(self, since: str) -> None:
        one = self._selected
        self._since = since
        for kind, item in self._api.watch(one.resource, since, one.labels, one.fields):
            # Whatever ends this: it goes on after what was seen.
            self._since = item["metadata"]["resourceVersion"]
            if self._ended.is_set():
                return
            if kind == "DELETED":
                self._known.pop(item["metadata"]["uid"], None)
                self._say("gone", item)
            elif kind != "BOOKMARK":
                self._see(item)

    def _see(self, item: Object) -> None:
        uid = item["metadata"]["uid"]
        before, self._known[uid] = self._known.get(uid), item
        version = item["metadata"]["resourceVersion"]
        if before is None or before["metadata"]["resourceVersion"] != version:
            self._say("there", item)

    def _say(
        self,
        kind: Literal["there", "gone", "listed", "lost", "failed"],
        item: Object | None = None,
        error: RetortError | None = None,
    ) -> None:
        if not self._ended.is_set():
            self._tell(Change(kind, self._selected.resource, item, error))
