"""A pod of a job, as kubectl shows it, and how its containers have ended."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from retort.launch.launcher.api.resources import Object
from retort.launch.units import quantity

GPU = "nvidia.com/gpu"
PENDING, RUNNING, SUCCEEDED, FAILED = "Pending", "Running", "Succeeded", "Failed"


@dataclass(frozen=True)
class Ended:
    """How a container has ended.

    Attributes:
        said: the end of its log, or what it has left to say (terminationMessagePolicy).
    """

    container: str
    code: int
    reason: str
    said: str


@dataclass(frozen=True)
class Waiting:
    """What a container waits for, in the kubelet's words."""

    container: str
    image: str
    reason: str
    message: str
    is_first: bool


@dataclass(frozen=True)
class Pod:
    """A pod.

    Attributes:
        item: as the API has it.
    """

    item: Object

    @property
    def name(self) -> str:
        return str(self.item["metadata"]["name"])

    @property
    def uid(self) -> str:
        return str(self.item["metadata"]["uid"])

    @property
    def phase(self) -> str:
        return str(self.status.get("phase", PENDING))

    @property
    def node(self) -> str:
        return str(self.spec.get("nodeName") or "")

    @property
    def is_going(self) -> bool:
        return bool(self.item["metadata"].get("deletionTimestamp"))

    @property
    def is_live(self) -> bool:
        """Whether its processes run."""
        return self.phase == RUNNING and not self.is_going

    @property
    def spec(self) -> Mapping[str, Any]:
        return self.item.get("spec") or {}

    @property
    def status(self) -> Mapping[str, Any]:
        return self.item.get("status") or {}

    @property
    def shown(self) -> str:
        """Its state in a word, as kubectl has it in the column STATUS."""
        if self.is_going:
            return "Terminating"
        if self.status.get("reason"):
            return str(self.status["reason"])
        for waiting in self.waiting():
            return f"Init:{waiting.reason}" if waiting.is_first else waiting.reason
        for ended in self.ended():
            if self.phase in (FAILED, SUCCEEDED):
                word = "Completed" if ended.code == 0 else ended.reason or "Error"
                return word if ended.code == 0 else f"{word} (exit code {ended.code})"
        return self.phase

    @property
    def restarts(self) -> int:
        """How often its containers were started again."""
        return sum(int(one.get("restartCount", 0)) for one in self._statuses())

    @property
    def gpus(self) -> int:
        """That it holds."""
        asked = (
            (one.get("resources") or {}).get("limits") or {}
            for one in self.spec.get("containers") or ()
        )
        return int(sum(quantity(str(one.get(GPU, "0"))) for one in asked))

    def condition(self, name: str) -> Mapping[str, Any]:
        """One of its conditions; empty if it has none of that name."""
        for one in self.status.get("conditions") or ():
            if one.get("type") == name:
                return dict(one)
        return {}

    def waiting(self) -> Iterator[Waiting]:
        """Containers that are not running yet, those that come first at first."""
        for is_first, key in ((True, "initContainerStatuses"), (False, "containerStatuses")):
            for one in self.status.get(key) or ():
                waiting = (one.get("state") or {}).get("waiting")
                if waiting and (waiting.get("reason") or "PodInitializing") != "PodInitializing":
                    yield Waiting(
                        *(str(one["name"]), str(one.get("image", ""))),
                        *(str(waiting["reason"]), str(waiting.get("message", ""))),
                        is_first,
                    )

    def ended(self) -> Iterator[Ended]:
        """Containers that have ended, with the end of their last run."""
        for one in self._statuses():
            states = (one.get("state") or {}, one.get("lastState") or {})
            done = next((state["terminated"] for state in states if "terminated" in state), None)
            if done is not None:
                yield Ended(
                    *(str(one["name"]), int(done.get("exitCode", 0))),
                    *(str(done.get("reason", "")), str(done.get("message", ""))),
                )

    def claims(self) -> Iterator[str]:
        """Names of the claims that it mounts."""
        for volume in self.spec.get("volumes") or ():
            if claim := (volume.get("persistentVolumeClaim") or {}).get("claimName"):
                yield str(claim)

    def _statuses(self) -> list[Object]:
        return list(self.status.get("containerStatuses") or ())
