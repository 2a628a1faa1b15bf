"""Jobs that really train: of the other operator, and a group that stands still."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from retort.launch.cluster.cluster import Cluster
from retort.launch.cluster.kinds.table import POD
from tests.launch.cluster.node.pods import need_namespaces
from tests.launch.cluster.training.jobs import job_recipe, plain_seal, training_cluster
from tests.launch.launcher.playing import LAUNCHER
from tests.launch.launcher.trained import STEPS, Training
from tests.processes.forks import fork_server_for

NUMBERS = itertools.count()
forks = fork_server_for(LAUNCHER, "retort.launch.rules.check")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    need_namespaces()
    with training_cluster(tmp_path_factory.mktemp("cluster") / "machine") as one:
        yield one


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return job_recipe(tmp_path_factory.mktemp("recipe"), STEPS)


@pytest.fixture
def training(cluster: Cluster, tmp_path: Path, recipe: Path) -> Training:
    return Training(cluster, f"team-{next(NUMBERS)}", tmp_path, recipe)


@pytest.fixture(scope="module")
def seal(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return plain_seal(recipe, tmp_path_factory.mktemp("plain") / "run")


def test_a_train_job_ends_with_the_seal_of_a_plain_run(training: Training, seal: str) -> None:
    words = ("launch", training.tiny(), "--yes", "--operator", "v2")
    code, _, errors = training.typed(*words)
    assert code == 0, errors
    with training.started("watch", "news") as watching:
        watching.until("trainjob/news  Running")
        assert watching.end() == 0, watching.lines
    assert watching.lines[-1] == f"seal {seal} /runs/news/checkpoint"


def test_a_group_whose_pods_live_and_do_not_meet_is_made_anew(
    training: Training, seal: str
) -> None:
    """The name of the first pod is nowhere to be found: nobody ends, and nothing moves."""
    runs = training.runs_directory
    assert training.typed("launch", training.tiny(), "--yes")[0] == 0
    training.until(POD, lambda items: "news-worker-0" in items)
    training.annotate("news-worker-0", name="held")
    with training.started("watch", "news", "--runs", runs, "--stall", "45s") as watching:
        watching.until("nothing has moved for 45 s after step 0: all of them are deleted")
        assert watching.end() == 0, watching.lines
    assert seal in watching.lines[-1]
