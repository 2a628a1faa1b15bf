"""What is wrong, and what is seen of a job to tell it from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from retort.core.errors import shown
from retort.launch.launcher.api.resources import Object
from retort.launch.launcher.seen.jobs import ClusterJob
from retort.launch.launcher.seen.pods import Pod


@dataclass(frozen=True)
class Cause:
    """Something that keeps a job from running, or has ended it.

    Attributes:
        of: the object that it was seen at, as kubectl names it.
        what: what is wrong, with the names of what is.
        mend: what to do.
    """

    of: str
    what: str
    mend: str

    @property
    def key(self) -> str:
        """What is one thing, in whatever words and of whichever pod: what comes before the words."""
        return self.what.partition(": ")[0]

    def __str__(self) -> str:
        return f"{self.of}: {self.what}; {self.mend}"


@dataclass(frozen=True)
class Seen:
    """What is seen of a job and around it.

    Attributes:
        claims: those that its pods name, by name; None for one that is not there.
        events: the latest of each object, oldest first.
        workloads: what Kueue has made for it; None where there is no Kueue.
        queue_is_there: None where it is not known.
    """

    job: ClusterJob
    pods: Sequence[Pod] = ()
    claims: Mapping[str, Object | None] = field(default_factory=dict)
    events: Sequence[Object] = ()
    workloads: Sequence[Object] | None = ()
    queue_is_there: bool | None = None


def latest_event(events: Sequence[Object], of: str, reasons: Sequence[str]) -> str:
    """The message of the last event of an object with one of some reasons, in one line."""
    kind, _, name = of.partition("/")
    for event in reversed(events):
        about = event.get("involvedObject") or {}
        is_it = about.get("kind", "").lower() == kind and about.get("name") == name
        if is_it and event.get("reason") in reasons:
            return shown(" ".join(str(event.get("message", "")).split()))
    return ""
