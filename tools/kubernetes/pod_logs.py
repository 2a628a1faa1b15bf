"""What all pods of a job say, while they say it: an operator removes pods, and their logs go with them."""

import logging
import re
import sys
import threading
import time
from types import TracebackType
from typing import Self

from retort.core.errors import RetortError
from tools.kubernetes.kubectl import Kubectl, Object

OF_JOB = "training.kubeflow.org/job-name"
_NEVER_STARTS = {
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "CreateContainerConfigError",
}
_AGAIN_S = 0.5
_BEGUN = ("Running", "Succeeded", "Failed")
_log = logging.getLogger("retort.launch")


class JobFailed(RetortError):
    """A job came to no good end."""


class PodLogs:
    """Follows the pods that a job has, and will have.

    Args:
        job: the name of a PyTorchJob.
    """

    def __init__(self, kubectl: Kubectl, job: str) -> None:
        self._kubectl, self._job = kubectl, job
        self._lines: list[str] = []
        self._changed = threading.Condition()
        self._states: dict[str, str] = {}
        self._followers: list[threading.Thread] = []
        self._failure = ""
        self._over = False
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._watcher.start()
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        with self._changed:
            self._over = True

    def until(self, words: re.Pattern[str]) -> None:
        """Wait for a line that says this.

        Raises:
            JobFailed: a pod cannot start, or all of them have ended without.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: self._failure or any(words.search(line) for line in self._lines)
            )
            if not any(words.search(line) for line in self._lines):
                print("".join(self._lines), file=sys.stderr)
                raise JobFailed(self._failure)

    def whole(self) -> str:
        """All that the pods have said, when those that are followed have ended."""
        with self._changed:
            followers = list(self._followers)
        for follower in followers:
            follower.join()
        with self._changed:
            return "".join(self._lines)

    def _watch(self) -> None:
        with self._kubectl.watched("pods", f"--selector={OF_JOB}={self._job}") as pods:
            for pod in pods:
                with self._changed:
                    if self._over:
                        return
                    self._see(pod)

    def _see(self, pod: Object) -> None:
        name, uid, state = pod["metadata"]["name"], pod["metadata"]["uid"], _state(pod)
        last = self._states.get(uid)
        if state == last:
            return
        self._states[uid] = state
        _log.info("%s: %s", name, state)
        if state in _NEVER_STARTS:
            self._failure = f"{name} cannot start: {state}; kubectl describe pod {name} says why"
        elif state == "Failed" and all(one == "Failed" for one in self._states.values()):
            self._failure = f"the pods of {self._job} have failed; what they said is above"
        self._changed.notify_all()
        if state in _BEGUN and last not in _BEGUN:
            follower = threading.Thread(target=self._follow, args=(name, uid), daemon=True)
            self._followers.append(follower)
            follower.start()

    def _follow(self, name: str, uid: str) -> None:
        is_told = False
        while not is_told:
            with self._changed:
                is_last = self._over or self._states[uid] not in ("Running", "Pending")
            with self._kubectl.lines("logs", "--follow", name) as lines:
                for line in lines:
                    is_told = True
                    with self._changed:
                        self._lines.append(line)
                        self._changed.notify_all()
            if is_last:
                return
            if not is_told:
                time.sleep(_AGAIN_S)  # A container may run before there is a log of it.


def _state(pod: Object) -> str:
    """Why its container waits, or else its phase."""
    for status in pod.get("status", {}).get("containerStatuses") or []:
        waiting = status.get("state", {}).get("waiting") or {}
        if waiting.get("reason") in _NEVER_STARTS:
            return str(waiting["reason"])
    return str(pod.get("status", {}).get("phase", "Pending"))
