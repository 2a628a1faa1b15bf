"""Jobs that really train, launched and minded by the launcher: pods are lost, runs cancelled and gone on with."""

from tests.launch.launcher.playing import LAUNCHER
from tests.launch.launcher.trained import Training, a_recipe, a_seal, a_training, a_training_cluster
from tests.processes.forks import fork_server_for

forks = fork_server_for(LAUNCHER, "retort.launch.rules.check")
cluster, recipe, training = a_training_cluster(), a_recipe(), a_training()
seal = a_seal()


def test_a_run_that_loses_a_pod_ends_with_the_seal_of_a_plain_one(
    training: Training, seal: str
) -> None:
    job, runs = training.tiny(), training.runs_directory
    code, _, errors = training.typed("launch", job, "--yes", "--runs", runs)
    assert code == 0, errors
    with training.started("watch", "news", "--runs", runs) as watching:
        watching.until("step ")
        pods = training.all_pods()
        # Nothing comes before the trainer, which a closed cluster could not pull.
        assert not any(one["spec"].get("initContainers") for one in pods)
        training.annotate("news-worker-1", kill="now")
        watching.until("news-worker-1  Error (exit code 137)")
        assert watching.end() == 0, watching.lines
    assert watching.lines[-1] == f"seal {seal} {runs}/news/checkpoint"
    # The machines are free: no pod runs on after the job has succeeded.
    phases = {one["metadata"]["name"]: one["status"]["phase"] for one in training.all_pods()}
    assert "Running" not in phases.values()
    # What the pods said is kept beside the run.
    said = (runs / "news.log").read_text()
    assert f"seal {seal} /runs/news/checkpoint" in said
    for command in ("launch", "resume"):
        code, _, errors = training.typed(command, job, "--yes", "--runs", runs)
        assert (code, f"never started twice: seal {seal}" in errors) == (2, True), errors


def test_a_cancelled_run_goes_on_with_three_nodes_and_ends_with_the_seal_of_a_plain_one(
    training: Training, seal: str
) -> None:
    job, runs = training.tiny(), training.runs_directory
    assert training.typed("launch", job, "--yes")[0] == 0
    with training.started("watch", "news", "--runs", runs) as watching:
        watching.until("step ")
        code, out, errors = training.typed("cancel", "news", "--runs", runs)
        assert (code, "its run is kept after step " in out) == (0, True), (out, errors)
        assert watching.end() == 1
        assert "is suspended; resume goes on" in watching.lines[-1]
    assert training.pods() == []
    words = ("resume", job, "--set", "nodes=3", "--yes", "--runs", runs)
    code, _, errors = training.typed(*words)
    assert code == 0, errors
    assert "Goes on: after step " in errors
    with training.started("watch", "news", "--runs", runs) as watching:
        assert watching.end() == 0, watching.lines
    assert seal in watching.lines[-1]
    assert "news-worker-2" in (runs / "news.log").read_text()
