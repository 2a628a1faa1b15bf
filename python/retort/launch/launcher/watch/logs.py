"""The logs of all pods of a job, followed at the same time and told as one."""

import threading
import time
from collections.abc import Callable

from retort.core.errors import RetortError
from retort.launch.launcher.api.client import Api
from retort.launch.launcher.api.refusals import ClusterFailed, Refused, Unreachable
from retort.launch.launcher.seen.pods import Pod
from retort.launch.launcher.watch.log_file import LogFile, LogLine, log_line

_AGAIN_S = 1.0
_NOT_YET = 400
"""Of a container that is about to begin."""
_LAST_S = 10.0
"""In which the rest of the logs of an ended job should have come."""


class Logs:
    """Follows each container that has begun, to its end. Used by one thread; `tell` is called by many."""

    def __init__(
        self, api: Api, kept: LogFile, tell: Callable[[LogLine], None], *, follow: bool = True
    ) -> None:
        """
        Args:
            follow: whether a container that goes on is read on.
        """
        self._api, self._kept, self._tell = api, kept, tell
        self._options = {} if follow else {"follow": ""}
        self._followed: dict[tuple[str, str, int], threading.Thread] = {}
        self._ended = threading.Event()
        self.failure: RetortError | None = None
        """Why lines cannot be kept, once they cannot."""

    def see(self, pod: Pod) -> None:
        """Follow what a pod has begun since it was seen last."""
        for status in pod.status.get("containerStatuses") or ():
            state = status.get("state") or {}
            if "running" not in state and "terminated" not in state:
                continue
            key = (pod.uid, str(status["name"]), int(status.get("restartCount", 0)))
            if key not in self._followed:
                # Those of one pod one after another: its restarted container has a log of its own.
                before = [
                    thread
                    for (uid, name, _), thread in self._followed.items()
                    if (uid, name) == key[:2]
                ]
                thread = threading.Thread(
                    target=self._follow, args=(pod.name, key[1], before), daemon=True
                )
                self._followed[key] = thread
                thread.start()

    def finish(self) -> None:
        """Wait until what containers have said is read to its end, and follow no more."""
        self._ended.set()
        until = time.monotonic() + _LAST_S
        for thread in self._followed.values():
            thread.join(max(0.0, until - time.monotonic()))

    def _follow(self, pod: str, container: str, before: list[threading.Thread]) -> None:
        for thread in before:
            thread.join()
        while True:
            since = self._kept.since(pod)
            query = dict(self._options)
            if since:
                # It counts in seconds; what was there before is known by its time.
                query["sinceTime"] = f"{since.partition('.')[0].rstrip('Z')}Z"
            try:
                for raw in self._api.log(pod, container, query):
                    line = log_line(pod, raw)
                    if self._kept.add(line):
                        self._tell(line)
                return
            except (Unreachable, ClusterFailed, Refused) as error:
                is_refused = isinstance(error, Refused) and error.status != _NOT_YET
                if is_refused or self._ended.wait(_AGAIN_S):
                    return
            except RetortError as error:
                self.failure = error
                return
