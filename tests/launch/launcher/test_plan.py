"""plan and launch, as they are typed before a real API server."""

import hashlib
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from retort.core.seal import sealing
from retort.launch.cluster.cluster import Cluster
from retort.launch.cluster.kinds.table import kind_of
from tests.launch.cluster.running import Kubectl, running
from tests.launch.launcher.playing import (
    IMAGE,
    LAUNCHER,
    PYTORCHJOB,
    Played,
)
from tests.processes.forks import fork_server_for

NUMBERS = itertools.count()
forks = fork_server_for(LAUNCHER, "retort.launch.rules.check")
POLICY = kind_of("networking.k8s.io/v1", "NetworkPolicy")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running(tmp_path_factory.mktemp("cluster")) as one:
        yield one


@pytest.fixture
def played(cluster: Cluster, tmp_path: Path) -> Played:
    return Played(cluster, f"team-{next(NUMBERS)}", tmp_path)


def checkpoint(run: Path, step: int) -> Path:
    """A checkpoint of a run, sealed."""
    path = run / "checkpoints" / f"step-{step:08}"
    with sealing(path, kind="checkpoint", inputs={}, config={}) as folder:
        (folder / "progress.json").write_text(json.dumps({"step": step}))
        (folder / "model.safetensors").write_bytes(bytes(100))
    return path


def finish(run: Path) -> str:
    """Make a run a finished one.

    Returns:
        Its seal.
    """
    with sealing(run / "checkpoint", kind="checkpoint", inputs={}, config={}) as folder:
        (folder / "model.safetensors").write_bytes(bytes(100))
    (run / "run.json").write_text("{}")
    return f"sha256:{hashlib.sha256((run / 'checkpoint/manifest.json').read_bytes()).hexdigest()}"


def refused(played: Played, *words: object) -> str:
    """The one line of a command that is refused."""
    code, out, errors = played.typed(*words)
    assert (code, out) == (2, ""), (out, errors)
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1, errors
    return errors


def layout(place: Path) -> tuple[Path, str]:
    """An image layout whose image has 6 GB, and its digest."""
    manifest = json.dumps({"config": {"size": 1000}, "layers": [{"size": 6 * 10**9}]}).encode()
    digest = hashlib.sha256(manifest).hexdigest()
    (place / "blobs/sha256").mkdir(parents=True)
    (place / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (place / "blobs/sha256" / digest).write_bytes(manifest)
    return place, f"sha256:{digest}"


def test_a_plan_tells_everything_and_writes_nothing(played: Played, tmp_path: Path) -> None:
    image, digest = layout(tmp_path / "image")
    prices = tmp_path / "prices.yaml"
    prices.write_text("currency: USD\ngpu: 2.5\ncpu: 0.1\n")
    runs = tmp_path / "runs"
    checkpoint(runs / "news", 6)
    damaged = checkpoint(runs / "news", 12)
    (damaged / "model.safetensors").write_bytes(bytes(50))
    job = played.job_file(
        image=f"registry.example/retort-training@{digest}",
        gpus=1,
        deadline="10h",
        environment={"NCCL_SOCKET_IFNAME": "eth0"},
    )
    words = ("plan", job, "--runs", runs, "--prices", prices, "--layout", image)
    code, out, errors = played.typed(*words)
    assert (code, errors) == (0, "")
    for wanted in (
        "+ persistentvolumeclaim/runs created",
        "+ pytorchjob/news created",
        "  NCCL_SOCKET_IFNAME=eth0",
        "  PET_RDZV_ENDPOINT=news-worker-0:23456",
        "  PET_NNODES=2:2",
        "20 GPU hours at most",
        "54.00 USD at most, 5.40 USD an hour",
        "after step 6, step-00000006, every digest of which holds; skipped: ",
        "model.safetensors: is truncated",
        "6.00 GB",
    ):
        assert wanted in out, out
    assert played.registry.find(PYTORCHJOB, played.namespace, "news") is None
    assert damaged.is_dir(), "what is damaged is left to the trainer"
    code, out, _ = played.typed(*words, "--json")
    said = json.loads(out)
    assert (said["gpu_hours"], said["cost"], said["image_bytes"]) == (20, 54.0, 6 * 10**9 + 1000)
    assert said["checkpoint"]["step"] == 6
    assert said["environment"]["news-worker-1"]["PET_NPROC_PER_NODE"] == "1"
    assert [one["action"] for one in said["objects"]] == ["created"] * 3


def test_a_plan_knows_the_size_that_a_push_has_told(played: Played) -> None:
    said = {"image": IMAGE, "bytes": 2_500_000_000, "tags": []}
    (played.place / "pushed.json").write_text(json.dumps(said) + "\n")
    code, out, _ = played.typed("plan", played.job_file(image="./pushed.json"))
    assert (code, "2.50 GB" in out) == (0, True), out


def test_a_plan_shows_what_differs_from_what_runs(played: Played) -> None:
    played.launch()
    job = played.job_file()
    code, out, _ = played.typed("plan", job, "--set", "memory=8Gi")
    assert code == 0
    assert "= persistentvolumeclaim/runs kept" in out
    assert "= networkpolicy/news unchanged" in out
    assert "~ pytorchjob/news changed" in out
    changed = [line.split() for line in out.splitlines() if line.strip().startswith(("-  ", "+  "))]
    assert ["+", "memory:", '"8Gi"'] in changed, changed
    assert ["-", "memory:", '"4Gi"'] in changed, changed


def test_launching_is_asked_for_and_told(played: Played) -> None:
    job = played.job_file()
    assert "give --yes" in played.typed("launch", job)[2]
    assert played.registry.find(PYTORCHJOB, played.namespace, "news") is None
    code, out, _ = played.typed("launch", job, "--yes")
    assert (code, out) == (
        0,
        f"launched pytorchjob/news in {played.namespace}; next: //launch -- watch news\n",
    )
    kept = played.registry.get(PYTORCHJOB, played.namespace, "news")
    managers = {(one["manager"], one["operation"]) for one in kept["metadata"]["managedFields"]}
    assert managers == {("retort-launch", "Apply")}
    assert played.typed("launch", job, "--yes")[1].startswith("unchanged pytorchjob/news")
    assert "resume has it save" in played.typed("launch", job, "--yes", "--set", "cpu=3")[2]


@pytest.mark.parametrize("finished", ["sealed", "succeeded", "both"])
def test_a_finished_run_is_never_started_twice(
    played: Played, tmp_path: Path, finished: str
) -> None:
    runs = tmp_path / "runs"
    (runs / "news").mkdir(parents=True)
    job = played.job_file()
    if finished != "sealed":
        played.launch()
        played.condition("news", "Succeeded")
    seal = finish(runs / "news") if finished != "succeeded" else "has succeeded"
    before = played.registry.store.revision
    for command in ("launch", "resume", "plan"):
        assert seal in refused(played, command, job, "--yes", "--runs", runs)
    if finished != "sealed":
        assert "finished" in refused(played, "resume", "news", "--yes", "--runs", runs)
    assert played.registry.store.revision == before


@pytest.mark.parametrize(
    ("keys", "what"),
    [
        ({"runs": {"claim": "absent"}}, "persistentvolumeclaim/absent: the job names it"),
        ({"secrets": ["absent"]}, "secret/absent: the job names it"),
        ({"queue": "absent"}, "localqueue/absent: the job names it"),
        ({"environment": {"PET_NNODES": "3"}, "overrides": ["train.steps=0"]}, "train.steps"),
    ],
)
def test_what_cannot_run_is_refused_before_anything_is_applied(
    played: Played, keys: dict[str, Any], what: str
) -> None:
    before = played.registry.store.revision
    assert what in refused(played, "launch", played.job_file(**keys), "--yes")
    assert played.registry.store.revision == before


def test_a_namespace_that_is_not_there_is_one_line(played: Played) -> None:
    said = refused(played, "launch", played.job_file(), "--yes", "--namespace", "nowhere")
    assert 'namespaces "nowhere" not found; make it (kubectl create namespace)' in said


def test_a_field_that_another_manager_has_is_told(played: Played, cluster: Cluster) -> None:
    played.launch()
    Kubectl(cluster.kubeconfig, played.place).said(
        *("patch", "networkpolicy", "news", "-n", played.namespace, "--type", "merge"),
        *("-p", '{"spec": {"policyTypes": ["Ingress"]}}'),
    )
    said = refused(played, "launch", played.job_file(), "--yes")
    assert "--force-conflicts" in said
    assert "kubectl-patch" in said
    code, _, _ = played.typed("launch", played.job_file(), "--yes", "--force-conflicts")
    assert code == 0
    kept = played.registry.get(POLICY, played.namespace, "news")
    assert kept["spec"]["policyTypes"] == ["Ingress", "Egress"]
