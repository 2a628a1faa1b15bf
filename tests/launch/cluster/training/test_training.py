"""Two pods with two processes each, by `kubectl apply -k`: whatever happens, one seal."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from retort.launch.cluster.cluster import Cluster
from tests.launch.cluster.node.pods import need_namespaces
from tests.launch.cluster.training.jobs import (
    NAME,
    TrainingJob,
    job_recipe,
    plain_seal,
    training_cluster,
)

STEPS = 60
FIRST, SECOND = f"{NAME}-worker-0", f"{NAME}-worker-1"


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return job_recipe(tmp_path_factory.mktemp("recipe"), STEPS)


@pytest.fixture(scope="module")
def seal(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return plain_seal(recipe, tmp_path_factory.mktemp("plain") / "run")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    need_namespaces()
    with training_cluster(tmp_path_factory.mktemp("training") / "machine") as found:
        yield found


@pytest.fixture
def job(
    cluster: Cluster, recipe: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> TrainingJob:
    words = request.node.name.removeprefix("test_").replace("_", "-")
    return TrainingJob(cluster, tmp_path / words[:50], recipe)


def _check(job: TrainingJob, seal: str) -> None:
    assert job.until_ended() == "Succeeded", job.told()
    assert job.seal() == seal


def test_undisturbed(job: TrainingJob, seal: str) -> None:
    job.apply()
    _check(job, seal)


def test_a_pod_is_killed(job: TrainingJob, seal: str) -> None:
    job.apply()
    job.until_step(20)
    before = job.uids()
    job.annotate(SECOND, kill="now")
    _check(job, seal)
    assert not before & job.uids(), "a group starts again as one"


def test_a_link_is_cut(job: TrainingJob, seal: str) -> None:
    job.apply(arguments=["--collective-timeout", "5"])
    job.until_step(20)
    job.annotate(FIRST, link="down")
    _check(job, seal)


def test_a_machine_is_taken_away(job: TrainingJob, seal: str) -> None:
    job.apply()
    job.until_step(20)
    job.annotate(SECOND, preempt="now")
    _check(job, seal)


def test_three_pods_go_on_where_two_were(job: TrainingJob, seal: str) -> None:
    job.apply()
    job.until_step(20)
    job.kubectl.said("delete", "-n", job.namespace, "pytorchjob", NAME, "--wait=false")
    while job.uids():
        os.sched_yield()
    job.apply(pods=3, processes=1)
    _check(job, seal)


def test_a_name_that_comes_late_is_waited_for(job: TrainingJob, seal: str) -> None:
    job.apply(name="held")
    pods = (FIRST, SECOND)
    for pod in pods:
        job.kubectl.said(
            *("wait", "-n", job.namespace, f"pod/{pod}", "--for=condition=Ready", "--timeout=-1s")
        )
    for pod in pods:
        job.annotate(pod, name="")
    _check(job, seal)
