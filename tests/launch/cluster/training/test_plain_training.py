"""A job of two pods that are plain processes: one is killed, and the seal is that of one process."""

from pathlib import Path

from tests.launch.cluster.training.faults import PODS, Fault, strike
from tests.launch.cluster.training.jobs import (
    TrainingJob,
    job_recipe,
    plain_seal,
    training_cluster,
)

STEPS = 30


def test_plain_pods_train_are_killed_and_have_the_seal_of_one_process(tmp_path: Path) -> None:
    recipe = job_recipe(tmp_path / "inputs", STEPS)
    seal = plain_seal(recipe, tmp_path / "plain")
    with training_cluster(tmp_path / "machine", is_plain=True) as cluster:
        job = TrainingJob(cluster, tmp_path / "struck", recipe)
        job.apply()
        strike(job, [Fault("kill", PODS[1])], STEPS)
        assert job.until_ended() == "Succeeded", job.told()
        assert job.seal() == seal
