"""A job, its pods, claims and events, as changes come in."""

from dataclasses import dataclass, field

from retort.core.errors import RetortError
from retort.launch.launcher.api.changes import Change
from retort.launch.launcher.api.resources import CLAIM, EVENT, POD, Object
from retort.launch.launcher.seen.cause import Seen
from retort.launch.launcher.seen.jobs import ClusterJob
from retort.launch.launcher.seen.pods import Pod

_MAKING = ("FailedCreate", "JobCreationFailed")
_MOST_EVENTS = 1000


@dataclass
class View:
    """
    Attributes:
        job: as it was seen last.
        is_gone: whether it was deleted.
        failure: why it can be watched no more.
    """

    job: ClusterJob
    is_gone: bool = False
    failure: RetortError | None = None
    workloads: list[Object] | None = field(default_factory=list)
    queue_is_there: bool | None = None
    _pods: dict[str, Pod] = field(default_factory=dict)
    _claims: dict[str, Object] = field(default_factory=dict)
    _events: dict[str, Object] = field(default_factory=dict)
    _listed: set[str] = field(default_factory=set)

    @property
    def pods(self) -> list[Pod]:
        """By name; of two of one name the one that is going first."""
        return sorted(self._pods.values(), key=lambda pod: (pod.name, not pod.is_going))

    @property
    def is_whole(self) -> bool:
        """Whether all is known that there was when it was begun."""
        return {self.job.resource.plural, POD.plural, CLAIM.plural, EVENT.plural} <= self._listed

    def take(self, change: Change) -> Pod | None:
        """Take in a change.

        Returns:
            The pod that it was about.
        """
        if change.type == "listed":
            self._listed.add(change.resource.plural)
        elif change.type == "failed":
            # Without events or claims less can be told of why; without the rest nothing.
            self._listed.add(change.resource.plural)
            if change.resource in (POD, self.job.resource):
                self.failure = change.error
        elif change.item is not None:
            return self._take_item(change, change.item)
        return None

    def seen(self) -> Seen:
        """What causes are told from."""
        named = {name for pod in self._pods.values() for name in pod.claims()}
        known = CLAIM.plural in self._listed
        return Seen(
            self.job,
            self.pods,
            {name: self._claims.get(name, None if known else {}) for name in named},
            list(self._events.values()),
            self.workloads,
            self.queue_is_there,
        )

    def _take_item(self, change: Change, item: Object) -> Pod | None:
        gone, name = change.type == "gone", item["metadata"]["name"]
        if change.resource == POD:
            pod = Pod(item)
            if gone:
                self._pods.pop(pod.uid, None)
            else:
                self._pods[pod.uid] = pod
            if len(self._pods) >= self.job.nodes:
                self._forget_refusals()
            return pod
        if change.resource == CLAIM:
            if gone:
                self._claims.pop(name, None)
            else:
                self._claims[name] = item
        elif change.resource == EVENT:
            self._take_event(item)
        elif item["metadata"]["uid"] == self.job.uid:
            self.is_gone = gone
            self.job = ClusterJob(self.job.resource, item)
        return None

    def _take_event(self, event: Object) -> None:
        about = event.get("involvedObject") or {}
        name, kind = str(about.get("name", "")), str(about.get("kind", ""))
        own = name == self.job.name or name.startswith(f"{self.job.name}-")
        if kind == self.job.resource.kind and about.get("uid") not in (None, self.job.uid):
            return  # of a job of the same name before
        if own or kind == "PersistentVolumeClaim":
            key = f"{kind}/{about.get('uid') or name}/{event.get('reason')}"
            self._events.pop(key, None)
            self._events[key] = event
            if len(self._events) > _MOST_EVENTS:
                self._events.pop(next(iter(self._events)))

    def _forget_refusals(self) -> None:
        """All pods are there, so that they could not be made is past."""
        for key, event in list(self._events.items()):
            if str(event.get("reason", "")).startswith(_MAKING):
                del self._events[key]
