"""A TrainJob of Kubeflow's trainer, version 2, with a TrainingRuntime of its own (tag v2.3.0)."""

from retort.launch.job import Job
from retort.launch.pods import Object, labels, template
from retort.launch.pytorch_job import queue_label
from retort.launch.units import seconds

GROUP = "trainer.kubeflow.org"
CONTAINER = "node"
"""The name of the replicated job, and the container, that the trainer looks for."""
ENDPOINT = "$(PET_MASTER_ADDR):$(PET_MASTER_PORT)"
_RESTARTS = 100
_FINAL = [1, 2]
"""Exit codes after which starting again is of no use: our mistake, and the user's."""


def training_runtime(job: Job) -> Object:
    """What the pods are, and that all start again when one is lost.

    A pod that ends with 1 or 2 fails the job. With another code, or without one, as when it was
    evicted, its Job fails, and JobSet makes all pods anew. There is no time after which a finished
    job is removed: JobSet would make it again.
    """
    return {
        "apiVersion": f"{GROUP}/v1alpha1",
        "kind": "TrainingRuntime",
        "metadata": {
            "name": job.config.name,
            "labels": {**labels(job), f"{GROUP}/framework": "torch"},
        },
        "spec": {
            "mlPolicy": {"numNodes": job.config.nodes, "torch": {}},
            "template": {
                "spec": {
                    "failurePolicy": {
                        "maxRestarts": _RESTARTS,
                        "restartStrategy": "Recreate",
                        "rules": [
                            {
                                "name": "final",
                                "action": "FailJobSet",
                                "onJobFailureReasons": ["PodFailurePolicy"],
                            }
                        ],
                    },
                    "replicatedJobs": [
                        {
                            "name": CONTAINER,
                            "template": {
                                "metadata": {
                                    "labels": {f"{GROUP}/trainjob-ancestor-step": "trainer"}
                                },
                                "spec": _job_spec(job),
                            },
                        }
                    ],
                }
            },
        },
    }


def _job_spec(job: Job) -> Object:
    pod = template(job, CONTAINER, ENDPOINT)
    exit_codes = {"containerName": CONTAINER, "operator": "In", "values": _FINAL}
    return {
        "backoffLimit": 0,
        "podFailurePolicy": {"rules": [{"action": "FailJob", "onExitCodes": exit_codes}]},
        "template": {**pod, "spec": {"restartPolicy": "Never", **pod["spec"]}},
    }


def train_job(job: Job) -> Object:
    """The job of that runtime. Both numbers are given, as the trainer guesses them otherwise."""
    config = job.config
    return {
        "apiVersion": f"{GROUP}/v1alpha1",
        "kind": "TrainJob",
        "metadata": {"name": config.name, "labels": {**labels(job), **queue_label(job)}},
        "spec": {
            "runtimeRef": {"apiGroup": GROUP, "kind": "TrainingRuntime", "name": config.name},
            **(
                {"activeDeadlineSeconds": seconds(config.deadline)}
                if config.deadline is not None
                else {}
            ),
            **({"suspend": True} if config.queue is not None else {}),
            "trainer": {"numNodes": config.nodes, "numProcPerNode": config.processes},
        },
    }
