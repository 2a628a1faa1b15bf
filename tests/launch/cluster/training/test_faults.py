"""Five faults of a job on the local cluster, one of each kind, and one seal."""

from pathlib import Path

from tests.launch.cluster.node.pods import need_namespaces
from tests.launch.cluster.training.faults import KINDS, PODS, Fault, strike
from tests.launch.cluster.training.jobs import (
    TrainingJob,
    job_recipe,
    plain_seal,
    training_cluster,
)

STEPS = 60
FIRST, SECOND = PODS
FAULTS = (
    Fault("cut", FIRST),
    Fault("evict", SECOND, early=True),
    Fault("late names", FIRST, early=True),
    Fault("preempt", SECOND),
    Fault("kill", FIRST, early=True),
)


def test_a_job_that_is_struck_again_and_again_has_the_seal_of_one_process(tmp_path: Path) -> None:
    assert {fault.kind for fault in FAULTS} == set(KINDS)
    need_namespaces()
    recipe = job_recipe(tmp_path / "inputs", STEPS)
    seal = plain_seal(recipe, tmp_path / "plain")
    with training_cluster(tmp_path / "machine") as cluster:
        job = TrainingJob(cluster, tmp_path / "struck", recipe)
        job.apply(arguments=["--collective-timeout", "5"])
        strike(job, FAULTS, STEPS)
        assert job.until_ended() == "Succeeded", job.told()
        assert job.seal() == seal
