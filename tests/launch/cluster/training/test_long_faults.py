"""Fifty random faults of one job on the local cluster, and one seal."""

from pathlib import Path

from tests.launch.cluster.node.pods import need_namespaces
from tests.launch.cluster.training.faults import random_faults, strike
from tests.launch.cluster.training.jobs import TrainingJob, job_recipe, plain_seal, training_cluster

STEPS, FAULTS, SEED = 400, 50, 1


def test_fifty_faults_change_no_bit(tmp_path: Path) -> None:
    need_namespaces()
    recipe = job_recipe(tmp_path / "inputs", STEPS)
    seal = plain_seal(recipe, tmp_path / "plain")
    with training_cluster(tmp_path / "machine") as cluster:
        job = TrainingJob(cluster, tmp_path / "struck", recipe)
        job.apply(arguments=["--collective-timeout", "5"])
        strike(job, random_faults(FAULTS, SEED), STEPS)
        assert job.until_ended() == "Succeeded", job.told()
        assert job.seal() == seal
