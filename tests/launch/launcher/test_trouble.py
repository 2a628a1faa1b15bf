"""What keeps a job from training, in the words of the local cluster's scheduler and kubelet, and of the trainer."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.launch.launcher.playing import LAUNCHER, PYTORCHJOB
from tests.launch.launcher.trained import THIRD, Training, a_recipe, a_training, a_training_cluster
from tests.processes.forks import fork_server_for

forks = fork_server_for(LAUNCHER, "retort.launch.rules.check")
cluster, recipe, training = a_training_cluster(), a_recipe(), a_training()


def test_a_mistake_of_the_user_is_final_and_told(training: Training) -> None:
    job = training.tiny(nodes=1, overrides=["data.directory=/data/absent"])
    assert training.typed("launch", job, "--yes")[0] == 0
    with training.started("watch", "news") as watching:
        assert watching.end() == 2, watching.lines
        line = watching.lines[-1]
        assert line.startswith(
            "error: pytorchjob/news has failed: pod/news-worker-0: exit code 2: "
        )
        assert "/data/absent" in line


@pytest.mark.parametrize("operator", ["v1", "v2"])
def test_a_volume_that_belongs_to_another_is_told(training: Training, operator: str) -> None:
    training.runs_directory.chmod(0o555)
    words = ("launch", training.tiny(nodes=1), "--yes", "--operator", operator)
    assert training.typed(*words)[0] == 0
    with training.started("watch", "news") as watching:
        assert watching.end() == 2, watching.lines
        assert "user and group 65532" in watching.lines[-1]
    training.runs_directory.chmod(0o755)


def _class(training: Training) -> dict[str, Any]:
    return {"runs": {"claim": "other", "size": "1Gi", "storage_class": "fast"}}


def _image(training: Training) -> dict[str, Any]:
    return {"image": f"registry.example/absent@sha256:{'cd' * 32}"}


def _gpus(training: Training) -> dict[str, Any]:
    return {"gpus": 1}


def _cores(training: Training) -> dict[str, Any]:
    return {"cpu": "4000"}


def _spot(training: Training) -> dict[str, Any]:
    return {"spot": "gke", "grace": "30s", "step": "1s"}


@pytest.mark.parametrize(
    ("keys", "what", "mend"),
    [
        (_class, "persistentvolumeclaim/other: is not bound", "kubectl get storageclass"),
        (_image, "registry.example/absent@sha256:cd", "//docker:training.push"),
        (_gpus, "no machine has 1 free nvidia.com/gpu", "ask for fewer gpus"),
        (_cores, "no machine has enough cpu", "it asks cpu 4000"),
        (_spot, "no machine is of the kind", "kubectl get nodes -l cloud.google.com/gke-spot=true"),
    ],
)
def test_no_pod_waits_in_silence(
    training: Training, keys: Callable[[Training], dict[str, Any]], what: str, mend: str
) -> None:
    job = training.tiny(**keys(training))
    code, _, errors = training.typed("launch", job, "--yes")
    assert code == 0, errors
    with training.started("watch", "news") as watching:
        assert mend in watching.until(what)
    assert training.typed("cancel", "news", "--delete")[0] == 0


def test_a_group_of_which_some_have_no_machine_is_told(training: Training) -> None:
    assert training.typed("launch", training.tiny(cpu=f"{2 * THIRD}m"), "--yes")[0] == 0
    with training.started("watch", "news") as watching:
        assert "give the job a queue" in watching.until("1 of 2 pods run")
    assert training.typed("cancel", "news", "--delete")[0] == 0
    assert training.registry.find(PYTORCHJOB, training.namespace, "news") is None
