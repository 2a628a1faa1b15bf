"""What a job's events tell of pods that wait or have failed, so that it stands where one looks first."""

from collections.abc import Iterator

from retort.launch.cluster.controllers.frame.events import Happening
from retort.launch.cluster.controllers.frame.items import name_of, status_of
from retort.launch.cluster.kinds.errors import JSONObject


def abnormal(pod: JSONObject) -> Iterator[Happening]:
    """What is wrong with an active pod, by its containers and by the oldest of its conditions."""
    status, who = status_of(pod), f"Error pod {name_of(pod)}"
    for lists in ("containerStatuses", "initContainerStatuses"):
        for one in status.get(lists) or ():
            state, container = one.get("state") or {}, f"{who} container {one.get('name')}"
            ended, waits = state.get("terminated") or {}, state.get("waiting") or {}
            if ended.get("exitCode", 0) != 0:
                code, said = ended["exitCode"], ended.get("message", "")
                text = f"{container} exitCode: {code} terminated message: {said}"
                yield Happening("Warning", ended.get("reason") or "Error", text)
            if waits.get("message"):
                text = f"{container} waiting message: {waits['message']}"
                yield Happening("Warning", waits.get("reason") or "Waiting", text)
    conditions = sorted(
        status.get("conditions") or (), key=lambda one: str(one.get("lastTransitionTime", ""))
    )
    if conditions and conditions[0].get("status") != "True" and conditions[0].get("reason"):
        text = f"{who} condition message: {conditions[0].get('message', '')}"
        yield Happening("Warning", conditions[0]["reason"], text)
