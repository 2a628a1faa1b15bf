"""`watch`: how far a job is, and how it ends."""

import itertools
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from retort.launch.cluster.cluster import Cluster
from retort.launch.cluster.serving.serving import bind
from tests.launch.cluster.running import running
from tests.launch.launcher.playing import LAUNCHER, PYTORCHJOB, SEAL, Played
from tests.processes.forks import fork_server_for

NUMBERS = itertools.count()
forks = fork_server_for(LAUNCHER, "retort.launch.rules.check")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running(tmp_path_factory.mktemp("cluster")) as one:
        yield one


@pytest.fixture
def played(cluster: Cluster, tmp_path: Path) -> Played:
    return Played(cluster, f"team-{next(NUMBERS)}", tmp_path)


def test_a_job_is_watched_from_its_pods_to_its_seal(played: Played) -> None:
    job = played.launch()
    with played.started("watch", "news") as watching:
        watching.until("pytorchjob/news  Created")
        pods = played.make_pods(job)
        played.runs(*pods)
        watching.until("news-worker-1  Running on machine-1")
        played.condition("news", "Running")
        played.says(pods[1], "step 1/3  loss 2.5000  lr 1.00e-03  9.0 samples/s")
        watching.until("step 1/3  loss 2.5000  2/2 pods")
        played.says(pods[1], f"seal {SEAL} /runs/news/checkpoint")
        for pod in pods:
            played.ends(pod, 0)
        played.condition("news", "Succeeded")
        assert watching.end() == 0
        assert watching.lines[-1] == f"seal {SEAL} /runs/news/checkpoint"


@pytest.mark.parametrize(
    ("ended", "exit_code", "mend"),
    [
        ((2, "x\nerror: train.steps 0 cannot be; give 1", ""), 2, "mend that, then resume"),
        ((1, "Traceback\nValueError: no", ""), 1, "see logs"),
        ((137, "", "OOMKilled"), 1, "more memory"),
        ((2, "error: /runs/news: cannot be written: Permission denied; x", ""), 2, "65532"),
    ],
)
def test_a_failure_is_told_where_one_looks(
    played: Played, ended: tuple[int, str, str], exit_code: int, mend: str
) -> None:
    job = played.launch()
    pods = played.make_pods(job)
    played.runs(*pods)
    with played.started("watch", "news") as watching:
        watching.until("news-worker-1  Running")
        played.ends(pods[0], *ended)
        played.condition("news", "Failed", "PyTorchJob news is failed.")
        assert watching.end() == exit_code
        line = watching.lines[-1]
        assert line.startswith("error: pytorchjob/news has failed: pod/news-worker-0: ")
        assert mend in line
        if "error: " in ended[1]:
            assert ended[1].rpartition("error: ")[2] in line


def test_a_lost_pod_is_no_failure(played: Played) -> None:
    """A preemption is the operator's to mend: it makes the pod anew, and the job goes on."""
    job = played.launch()
    pods = played.make_pods(job)
    played.runs(*pods)
    with played.started("watch", "news") as watching:
        watching.until("news-worker-1  Running")
        # The operator has another pod in its place in a moment, and yet it is told.
        played.ends(pods[1], 143)
        played.removes(pods[1])
        watching.until("news-worker-1  Error (exit code 143)")
        watching.until("news-worker-1  is gone")
        played.make_pods(job, [1])
        played.runs(pods[1])
        played.condition("news", "Succeeded")
        assert watching.end() == 0
        assert not any("mend that" in line for line in watching.lines)


def test_a_deadline_that_has_passed_is_told(played: Played) -> None:
    played.launch(deadline="1h")
    with played.started("watch", "news") as watching:
        watching.until("pytorchjob/news  Created")
        message = "PyTorchJob news has failed because it was active longer than specified deadline"
        played.condition("news", "Failed", message, "DeadlineExceeded")
        assert watching.end() == 1
        assert "later deadline" in watching.lines[-1]


def test_machines_that_a_finished_job_holds_are_told(played: Played) -> None:
    job = played.launch()

    def keep(item: dict[str, dict[str, dict[str, str]]]) -> dict[str, dict[str, dict[str, str]]]:
        item["spec"]["runPolicy"]["cleanPodPolicy"] = "None"
        return item

    played.registry.modify(PYTORCHJOB, played.namespace, "news", keep)
    pods = played.make_pods(job)
    played.runs(*pods)
    with played.started("watch", "news") as watching:
        watching.until("news-worker-1  Running")
        played.ends(pods[0], 0)
        played.condition("news", "Succeeded")
        assert watching.end() == 0
        assert any("1 of its pods run on" in line for line in watching.lines)


def test_a_group_that_stands_still_is_made_anew(played: Played) -> None:
    job = played.launch()
    pods = played.make_pods(job)
    played.runs(*pods)
    with played.started("watch", "news", "--stall", "1s") as watching:
        assert "nothing has moved for 1 s after step 0" in watching.until("all of them are deleted")
        played.deletions(*pods)
        for pod in pods:
            played.removes(pod)
        watching.until("news-worker-1  is gone")
        played.make_pods(job)
        played.condition("news", "Succeeded")
        assert watching.end() == 0


def test_ctrl_c_leaves_the_job_running(played: Played) -> None:
    played.launch()
    with played.started("watch", "news") as watching:
        watching.until("pytorchjob/news  Created")
        watching.process.send_signal(signal.SIGINT)
        assert watching.end() == 130
        assert any("pytorchjob/news goes on without this" in line for line in watching.lines)
    assert played.registry.find(PYTORCHJOB, played.namespace, "news") is not None


def test_programs_read_a_watch_as_json_lines(played: Played) -> None:
    job = played.launch()
    with played.started("watch", "news", "--json") as watching:
        watching.until('"Created"')
        pod, _ = played.make_pods(job)
        played.unschedulable(pod, "0/1 nodes are available: 1 Insufficient cpu.")
        cause = json.loads(watching.until('"cause"'))
        assert cause.keys() == {"event", "of", "what", "mend"}
        played.condition("news", "Succeeded")
        assert watching.end() == 0
        outcome = json.loads(watching.lines[-1])
        assert outcome == {"event": "outcome", "state": "Succeeded", "seal": None, "path": None}


def test_a_job_that_is_not_there_is_one_line(played: Played) -> None:
    code, out, errors = played.typed("watch", "absent")
    assert (code, out) == (2, "")
    assert errors.startswith(
        f"error: the namespace {played.namespace} has no PyTorchJob or TrainJob"
    )
    assert errors.count("\n") == 1


def test_a_watch_outlives_the_api_server(tmp_path: Path) -> None:
    bound = bind("127.0.0.1", 0)
    port = bound.getsockname()[1]
    with Cluster(tmp_path / "cluster", bound) as first:
        played = Played(first, "team", tmp_path)
        played.launch()
        watching = played.started("watch", "news")
        watching.until("pytorchjob/news  Created")
    with watching:
        watching.until("the API server cannot be reached")
        with Cluster(tmp_path / "cluster", bind("127.0.0.1", port)) as second:
            played.registry = second.registry
            played.condition("news", "Succeeded")
            assert watching.end() == 0
    told = [line for line in watching.lines if "the job goes on, and this tries again" in line]
    assert len(told) == 1


def test_programs_read_a_failure_as_json(played: Played) -> None:
    played.launch()
    with played.started("watch", "news", "--json") as watching:
        watching.until('"Created"')
        played.condition("news", "Failed", "PyTorchJob news is failed.")
        outcome = json.loads(watching.until('"outcome"'))
        assert watching.end() == 1
    assert (outcome["state"], "has failed" in outcome["error"]) == ("Failed", True)


def test_many_pods_are_counted(played: Played) -> None:
    job = played.launch(nodes=12, overrides=["train.shards=12", "train.batch=12"])
    pods = played.make_pods(job)
    with played.started("watch", "news") as watching:
        watching.until("pods  12 Pending")
        played.runs(*pods)
        watching.until("pods  12 Running")
        assert not any(line.startswith("news-worker-") for line in watching.lines)
