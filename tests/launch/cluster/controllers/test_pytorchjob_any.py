"""Whatever becomes of the pods of a PyTorchJob, in whatever order: its conditions agree, and it settles."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from retort.launch.cluster.kinds.errors import JSONObject
from tests.launch.cluster.controllers.objects import conditions, ended, later, running, true
from tests.launch.cluster.controllers.pytorchjobs import World, a_job

STATUSES: tuple[JSONObject | None, ...] = (
    *(None, {"phase": "Pending"}, running(), running(1), running(5)),
    *(
        ended(0),
        ended(1),
        ended(2),
        ended(137),
        ended(143),
        {"phase": "Failed", "reason": "Evicted"},
    ),
)
"""None: the pod is deleted by someone."""
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("pod"), st.integers(0, 3), st.sampled_from(STATUSES)),
        st.tuples(st.just("suspend"), st.booleans(), st.none()),
        st.tuples(st.just("time"), st.integers(1, 100), st.none()),
    ),
    max_size=12,
)
POLICIES = st.fixed_dictionaries(
    {},
    optional={
        "cleanPodPolicy": st.sampled_from(["None", "Running", "All"]),
        "backoffLimit": st.integers(0, 4),
        "activeDeadlineSeconds": st.integers(1, 200),
    },
)


def check(world: World, was_finished: set[str]) -> set[str]:
    """What holds at any moment.

    Returns:
        In what way the job has ended, if it has.
    """
    said = [one["type"] for one in world.job["status"]["conditions"]]
    assert len(said) == len(set(said))
    now = true(world.job)
    assert "Created" in now
    assert not {"Running", "Restarting"} <= conditions(world.job).keys()
    finished = now & {"Succeeded", "Failed"}
    assert was_finished <= finished  # for good
    if finished:
        assert "Running" not in now
        assert finished == {"Failed"} or "completionTime" in world.job["status"]
    assert world.pods.keys() <= {"job-master-0", *(f"job-worker-{one}" for one in range(3))}
    return finished


@given(
    policy=POLICIES,
    restarts=st.sampled_from(["OnFailure", "Always", "Never", "ExitCode"]),
    workers=st.integers(1, 3),
    master=st.booleans(),
    elastic=st.booleans(),
    steps=STEPS,
)
@settings(deadline=None)
def test_any_sequence_leaves_conditions_that_agree_and_settles(
    *,
    policy: JSONObject,
    restarts: str,
    workers: int,
    master: bool,
    elastic: bool,
    steps: list[tuple[str, Any, Any]],
) -> None:
    elastic_policy: JSONObject | None = {} if elastic else None
    world = World(
        a_job(workers, master, policy=policy, restarts=restarts, elasticPolicy=elastic_policy)
    )
    now, finished = 0, set[str]()
    for word, value, status in steps:
        if word == "time":
            now += value
        elif word == "suspend":
            world.job["spec"]["runPolicy"]["suspend"] = value
        elif world.pods:
            name = sorted(world.pods)[value % len(world.pods)]
            if status is None:
                del world.pods[name]
            else:
                world.pods[name]["status"] = status
        world.look(later(now))
        finished = check(world, finished)
    world.settle(later(now))
    finished = check(world, finished)
    suspended = world.job["spec"]["runPolicy"].get("suspend", False)
    if suspended and not finished:
        assert world.pods == world.services == {}
    if not suspended and not finished:
        # Nothing is missing, so that the job can go on.
        assert len(world.pods) == len(world.services) == workers + master
        world.be(ended(0))
        world.settle(later(now))
        assert "Succeeded" in true(world.job)
