"""logs, resume, cancel and list, as they are typed before a real API server."""

import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from retort.core.forks.client import run
from retort.launch.cluster.cluster import Cluster
from retort.launch.cluster.kinds.table import POD, kind_of
from retort.launch.launcher.seen.jobs import job_of
from tests.launch.cluster.running import Kubectl, running
from tests.launch.launcher.playing import (
    CLAIM,
    IMAGE,
    LAUNCHER,
    PYTORCHJOB,
    TRAINJOB,
    Played,
)
from tests.processes.forks import fork_server_for

NUMBERS = itertools.count()
forks = fork_server_for(LAUNCHER, "retort.launch.rules.check")
RUNTIME = kind_of("trainer.kubeflow.org/v1alpha1", "TrainingRuntime")
POLICY = kind_of("networking.k8s.io/v1", "NetworkPolicy")
MONITOR = kind_of("monitoring.coreos.com/v1", "PodMonitor")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running(tmp_path_factory.mktemp("cluster")) as one:
        yield one


@pytest.fixture
def played(cluster: Cluster, tmp_path: Path) -> Played:
    return Played(cluster, f"team-{next(NUMBERS)}", tmp_path)


def refused(played: Played, *words: object) -> str:
    """The one line of a command that is refused."""
    code, out, errors = played.typed(*words)
    assert (code, out) == (2, ""), (out, errors)
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1, errors
    return errors


def test_a_job_that_was_cancelled_saves_first_and_then_goes_on(
    played: Played, tmp_path: Path
) -> None:
    job = played.launch("--set", "metrics={}")
    assert played.registry.find(MONITOR, played.namespace, "news") is not None
    pods = played.make_pods(job)
    played.runs(*pods)
    runs = tmp_path / "runs"
    with played.started("cancel", "news", "--runs", runs.parent) as cancelling:
        cancelling.until("2 pods save and leave, in 120 s at most")
        policy = played.registry.get(PYTORCHJOB, played.namespace, "news")["spec"]["runPolicy"]
        assert policy["suspend"] is True, "suspended before anything is removed"
        for pod in pods:
            played.removes(pod)
        assert cancelling.end() == 0
        assert "its run is kept: resume goes on" in cancelling.lines[-1]
    again = ("launch", played.job_file(), "--set", "metrics={}", "--yes")
    assert "is suspended; resume" in refused(played, *again)
    code, _, errors = played.typed("resume", "news", "--yes")
    assert code == 0, errors
    policy = played.registry.get(PYTORCHJOB, played.namespace, "news")["spec"]["runPolicy"]
    assert policy["suspend"] is False
    assert "is not suspended" in refused(played, "resume", "news", "--yes")
    with played.started("cancel", "news", "--delete") as cancelling:
        assert cancelling.end() == 0
    for kind, name in ((PYTORCHJOB, "news"), (POLICY, "news"), (MONITOR, "news")):
        assert played.registry.find(kind, played.namespace, name) is None
    assert played.registry.find(CLAIM, played.namespace, "runs") is not None


@pytest.mark.parametrize("how", ["file", "name"])
def test_a_job_goes_on_with_another_number_of_nodes(played: Played, how: str) -> None:
    job = played.launch()
    pods = played.make_pods(job)
    played.runs(*pods)
    words = (played.job_file(), "--set", "nodes=3") if how == "file" else ("news", "--nodes", "3")
    with played.started("resume", *words, "--yes") as resuming:
        resuming.until("2 pods save and leave")
        for pod in pods:
            played.removes(pod)
        assert resuming.end() == 0, resuming.lines
    now = played.registry.get(PYTORCHJOB, played.namespace, "news")
    elastic = now["spec"]["elasticPolicy"]
    assert now["metadata"]["uid"] != job["metadata"]["uid"]
    assert now["spec"]["pytorchReplicaSpecs"]["Worker"]["replicas"] == 3
    assert (elastic["minReplicas"], elastic["maxReplicas"]) == (3, 3)
    assert not now["spec"]["runPolicy"].get("suspend")
    assert played.pods() == []


def test_a_job_that_has_failed_goes_on_as_a_new_one(played: Played) -> None:
    job = played.launch()
    played.condition("news", "Failed", "PyTorchJob news is failed.")
    assert "resume goes on" in refused(played, "launch", played.job_file(), "--yes")
    code, _, errors = played.typed("resume", played.job_file(), "--yes")
    assert code == 0, errors
    now = played.registry.get(PYTORCHJOB, played.namespace, "news")
    assert now["metadata"]["uid"] != job["metadata"]["uid"]
    assert "status" not in now


def test_a_train_job_is_launched_cancelled_and_resumed(played: Played) -> None:
    job = played.launch("--operator", "v2")
    assert job["spec"]["trainer"]["numNodes"] == 2
    assert "of the other operator" in refused(played, "launch", played.job_file(), "--yes")
    assert played.typed("cancel", "news")[0] == 0
    assert played.registry.get(TRAINJOB, played.namespace, "news")["spec"]["suspend"] is True
    code, _, errors = played.typed("resume", "news", "--nodes", "3", "--yes")
    assert code == 0, errors
    now = played.registry.get(TRAINJOB, played.namespace, "news")
    runtime = played.registry.get(RUNTIME, played.namespace, "news")
    assert now["metadata"]["uid"] != job["metadata"]["uid"]
    assert now["spec"]["trainer"]["numNodes"] == 3
    assert runtime["spec"]["mlPolicy"]["numNodes"] == 3
    assert played.typed("cancel", "news", "--delete")[0] == 0
    assert played.registry.find(RUNTIME, played.namespace, "news") is None


def test_logs_of_all_pods_are_one_and_are_there_after_the_pods(
    played: Played, tmp_path: Path
) -> None:
    job = played.launch()
    pods = played.make_pods(job)
    played.runs(*pods)
    runs = tmp_path / "runs"
    runs.mkdir()
    played.says(pods[0], "one", "\x1b[31mred\x1b[0m\x07")
    with played.started("logs", "news", "--runs", runs) as logs:
        logs.until("news-worker-0  red\\x07")
        played.says(pods[1], "two")
        logs.until("news-worker-1  two")
        played.says(pods[0], "three")
        for pod in pods:
            played.ends(pod, 0)
        played.condition("news", "Succeeded")
        assert logs.end() == 0
        lines = sorted(logs.lines)
    assert len(lines) == 4
    # Once more while the pods are there: nothing twice.
    code, out, _ = played.typed("logs", "news", "--runs", runs)
    assert sorted(out.splitlines()) == lines
    for pod in pods:
        played.removes(pod)
    assert played.typed("cancel", "news", "--delete")[0] == 0
    code, out, errors = played.typed("logs", "news", "--runs", runs)
    assert (code, errors) == (0, "")
    assert sorted(out.splitlines()) == lines
    as_json = played.typed("logs", "news", "--runs", runs, "--json")[1]
    first = json.loads(as_json.splitlines()[0])
    assert first.keys() == {"time", "pod", "line"}
    assert "has no PyTorchJob or TrainJob" in refused(played, "logs", "other", "--runs", runs)


def test_a_list_is_a_table_as_kubectl_prints_it(played: Played, tmp_path: Path) -> None:
    assert played.typed("list")[2] == f"No resources found in {played.namespace} namespace.\n"
    job = played.launch()
    played.runs(*played.make_pods(job))
    played.condition("news", "Running")
    played.launch("--operator", "v2", name="other", nodes=1)
    (tmp_path / "runs/news").mkdir(parents=True)
    (tmp_path / "runs/news/metrics.jsonl").write_text('{"step": 4, "loss": 0.5}\n')
    code, out, _ = played.typed("list", "--runs", tmp_path / "runs")
    assert code == 0
    rows = [line.split() for line in out.splitlines()]
    assert rows[0] == ["NAME", "KIND", "STATE", "PODS", "QUEUE", "AGE", "STEP"]
    assert rows[1][:5] == ["news", "PyTorchJob", "Running", "2/2", "<none>"]
    assert rows[1][-1] == "4"
    assert rows[2][:4] == ["other", "TrainJob", "Created", "0/1"]
    row, _ = json.loads(played.typed("list", "--json")[1])
    assert (row["namespace"], row["pods"]) == (played.namespace, "2/2")
    assert played.typed("list", "-A")[1].splitlines()[0].split()[0] == "NAMESPACE"


def test_a_job_that_kubectl_has_applied_is_minded_by_its_name(
    played: Played, cluster: Cluster, tmp_path: Path
) -> None:
    """No file of ours: what `kubectl apply -f` made is watched, logged, cancelled and gone on with."""
    worker = {
        "replicas": 1,
        "restartPolicy": "ExitCode",
        "template": {
            "spec": {
                "containers": [{"name": "pytorch", "image": IMAGE, "args": ["--out", "/runs/x"]}]
            }
        },
    }
    job = {
        "apiVersion": "kubeflow.org/v1",
        "kind": "PyTorchJob",
        "metadata": {"name": "plain"},
        "spec": {
            "runPolicy": {"cleanPodPolicy": "Running"},
            "elasticPolicy": {"minReplicas": 1, "maxReplicas": 1},
            "pytorchReplicaSpecs": {"Worker": worker},
        },
    }
    kubectl = Kubectl(cluster.kubeconfig, tmp_path)
    kubectl.said("apply", "-n", played.namespace, "-f", "-", stdin=yaml.safe_dump(job))
    (tmp_path / "runs/x").mkdir(parents=True)
    made = played.registry.get(PYTORCHJOB, played.namespace, "plain")
    made["spec"]["pytorchReplicaSpecs"]["Worker"]["template"].setdefault("metadata", {})
    (pod,) = played.make_pods(made)
    played.runs(pod)
    played.says(pod, "here")
    code, out, _ = played.typed("logs", "plain", "--no-follow", "--runs", tmp_path / "runs")
    assert (code, out) == (0, "plain-worker-0  here\n")
    assert (tmp_path / "runs/x.log").is_file(), "beside the run that its arguments name"
    with played.started("resume", "plain", "--nodes", "2", "--yes") as resuming:
        resuming.until("1 pods save")
        played.removes(pod)
        assert resuming.end() == 0, resuming.lines
    now = played.registry.get(PYTORCHJOB, played.namespace, "plain")
    assert now["spec"]["elasticPolicy"]["maxReplicas"] == 2
    assert kubectl.said("get", "pytorchjob", "plain", "-n", played.namespace)


def test_a_cluster_that_is_not_there_is_one_line(tmp_path: Path, played: Played) -> None:
    text = played.cluster.kubeconfig.read_text()
    other = tmp_path / "kubeconfig"
    value = yaml.safe_load(text)
    value["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:9"
    other.write_text(yaml.safe_dump(value))
    said = refused(played, "list", "--kubeconfig", other)
    assert "https://127.0.0.1:9: the API server cannot be reached" in said
    said = refused(played, "list", "--kubeconfig", tmp_path / "none")
    assert "cannot be used" in said
    assert "give --kubeconfig FILE" in said


def test_pods_are_untouched_by_what_only_looks(played: Played) -> None:
    job = played.launch()
    played.make_pods(job)
    before = played.registry.store.revision
    played.typed("plan", played.job_file())
    played.typed("list", "--json")
    assert played.registry.store.revision == before
    assert played.registry.list(POD).items


def test_the_kubeconfig_is_found_as_kubectl_finds_it(played: Played) -> None:
    """`KUBECONFIG` names several files, from where the command is typed; the context names the namespace."""
    folder = played.cluster.kubeconfig.parent
    value = yaml.safe_load(played.cluster.kubeconfig.read_text())
    value["contexts"][0]["context"]["namespace"] = played.namespace
    (played.place / "own").write_text(yaml.safe_dump(value))
    environment = {
        **os.environ,
        "BUILD_WORKING_DIRECTORY": str(played.place),
        "KUBECONFIG": f"absent:own:{folder / 'kubeconfig'}",
    }
    done = run([LAUNCHER, "list"], environment)
    assert (done.returncode, done.stderr) == (
        0,
        f"No resources found in {played.namespace} namespace.\n",
    )


@pytest.mark.parametrize(
    ("out", "name"),
    [("/runs/x", "x"), ("/runs/team/x", "team/x"), ("/runs/../x", "news"), ("/other/x", "news")],
)
def test_the_run_of_a_job_is_where_its_arguments_say_below_all_runs(out: str, name: str) -> None:
    container = {"name": "pytorch", "args": ["--config", "smoke", "--out", out]}
    worker = {"template": {"spec": {"containers": [container]}}}
    spec = {"pytorchReplicaSpecs": {"Worker": worker}}
    job = job_of({"kind": "PyTorchJob", "metadata": {"name": "news"}, "spec": spec})
    assert job.run_name == name
