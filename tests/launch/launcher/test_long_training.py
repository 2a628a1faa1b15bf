"""Jobs that really train: of the other operator, and a group that stands still."""

from retort.launch.cluster.kinds.table import POD
from tests.launch.launcher.playing import LAUNCHER
from tests.launch.launcher.trained import Training, a_recipe, a_seal, a_training, a_training_cluster
from tests.processes.forks import fork_server_for

forks = fork_server_for(LAUNCHER, "retort.launch.rules.check")
cluster, recipe, training = a_training_cluster(), a_recipe(), a_training()
seal = a_seal()


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
