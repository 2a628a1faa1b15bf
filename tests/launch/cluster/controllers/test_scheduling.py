"""Where pods go and why they do not, in the scheduler's words."""

import itertools
from typing import Any

import pytest

from retort.launch.cluster.controllers.scheduling.node import Node, requested
from retort.launch.cluster.controllers.scheduling.placing import obstacle, used, waiting
from retort.launch.cluster.kinds.errors import JSONObject
from tests.launch.cluster.controllers.objects import ended, kept, running

NODE = Node("here", {"cpu": "4", "memory": "8Gi", "nvidia.com/gpu": "2"}, {"gpu": "h100"})
_NAMES = itertools.count()
VAIN = ". preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
NO_VICTIMS = (
    ". preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."
)


def pod(status: JSONObject | None = None, **spec: Any) -> JSONObject:
    container = {"name": "c", "image": "x:1"}
    item = {
        "metadata": {"name": f"p{next(_NAMES)}"},
        "spec": {"containers": [container], **spec},
        "status": status or {"phase": "Pending"},
    }
    return kept(item)


def asking(**requests: str) -> JSONObject:
    return {"name": "c", "image": "x:1", "resources": {"requests": requests}}


def with_claims(*names: str) -> JSONObject:
    volumes = [{"name": one, "persistentVolumeClaim": {"claimName": one}} for one in names]
    return pod(volumes=volumes)


def claim(name: str, phase: str = "Bound", going: bool = False) -> JSONObject:
    found = kept({"metadata": {"name": name}, "status": {"phase": phase}})
    if going:
        found["metadata"]["deletionTimestamp"] = "2026-01-31T12:00:00Z"
    return found


@pytest.mark.parametrize(
    ("one", "why"),
    [
        (pod(), None),
        (pod(containers=[asking(cpu="4", memory="8Gi")]), None),
        (pod(containers=[asking(cpu="4001m")]), f"1 Insufficient cpu{NO_VICTIMS}"),
        (
            pod(containers=[asking(memory="5Gi"), asking(memory="4Gi", cpu="5")]),
            f"1 Insufficient cpu, 1 Insufficient memory{NO_VICTIMS}",
        ),
        (
            pod(containers=[asking(**{"nvidia.com/gpu": "3"})]),
            f"1 Insufficient nvidia.com/gpu{NO_VICTIMS}",
        ),
        (
            pod(containers=[asking(**{"example.com/tpu": "1"})]),
            f"1 Insufficient example.com/tpu{NO_VICTIMS}",
        ),
        (pod(nodeSelector={"gpu": "h100", "kubernetes.io/hostname": "here"}), None),
        (
            pod(nodeSelector={"gpu": "b200"}),
            f"1 node(s) didn't match Pod's node affinity/selector{VAIN}",
        ),
        (with_claims("runs"), None),
        (with_claims("runs", "data"), f'persistentvolumeclaim "data" not found{VAIN}'),
        (with_claims("new"), f"pod has unbound immediate PersistentVolumeClaims{VAIN}"),
        (with_claims("old"), f'persistentvolumeclaim "old" is being deleted{VAIN}'),
        (
            pod(containers=[asking(cpu="many")]),
            f"'many' is not a quantity, such as 500m, 4 or 16Gi{VAIN}",
        ),
    ],
)
def test_a_pod_that_cannot_be_placed_says_why(one: JSONObject, why: str | None) -> None:
    claims = [claim("runs"), claim("new", "Pending"), claim("old", going=True)]
    found = obstacle(NODE, {}, one, {each["metadata"]["name"]: each for each in claims})
    assert found == (None if why is None else f"0/1 nodes are available: {why}")


@pytest.mark.parametrize(
    ("expression", "fits"),
    [
        ({"key": "gpu", "operator": "In", "values": ["a100", "h100"]}, True),
        ({"key": "gpu", "operator": "NotIn", "values": ["h100"]}, False),
        ({"key": "gpu", "operator": "Exists"}, True),
        ({"key": "spot", "operator": "DoesNotExist"}, True),
        ({"key": "spot", "operator": "Gt", "values": ["1"]}, False),
    ],
)
def test_required_affinity_is_held(expression: JSONObject, fits: bool) -> None:
    terms = {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}
    affinity = {"requiredDuringSchedulingIgnoredDuringExecution": terms}
    found = obstacle(NODE, {}, pod(affinity={"nodeAffinity": affinity}), {})
    assert (found is None) is fits


def test_what_pods_have_asked_for_is_taken_until_they_end() -> None:
    asked: JSONObject = {
        "containers": [asking(cpu="1500m", **{"nvidia.com/gpu": "1"})],
        "nodeName": "here",
    }
    pods = [pod(running(), **asked), pod(**asked), pod(ended(0), **asked), pod(ended(1), **asked)]
    pods.append(pod(running(), **{**asked, "nodeName": "elsewhere"}))
    taken = used(NODE, pods)
    assert [int(taken[one]) for one in ("cpu", "nvidia.com/gpu")] == [3, 2]
    why = obstacle(NODE, taken, pod(containers=[asking(**{"nvidia.com/gpu": "1"})]), {})
    assert why == f"0/1 nodes are available: 1 Insufficient nvidia.com/gpu{NO_VICTIMS}"


def test_init_containers_run_one_at_a_time_and_sidecars_stay() -> None:
    sidecar = {**asking(cpu="1"), "restartPolicy": "Always"}
    found = requested(
        pod(
            initContainers=[asking(cpu="3"), asking(cpu="2", memory="1Gi"), sidecar],
            containers=[asking(cpu="1"), asking(cpu="500m")],
        )
    )
    assert [int(found[one]) for one in ("cpu", "memory", "pods")] == [3, 2**30, 1]


def test_pods_are_tried_by_priority_and_then_by_age() -> None:
    young, old, important = pod(), pod(), pod(priority=10)
    young["metadata"]["creationTimestamp"] = "2026-01-31T12:00:01Z"
    others = [pod(nodeName="here"), pod(schedulerName="other"), pod(ended(1))]
    assert waiting([young, old, *others, important]) == [important, old, young]
