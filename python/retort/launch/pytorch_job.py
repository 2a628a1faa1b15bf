"""A PyTorchJob of Kubeflow's training operator, version 1 (https://github.com/kubeflow/trainer, tag v1.9.4)."""

from retort.launch.job import Job
from retort.launch.pods import Object, labels, template
from retort.launch.units import seconds

CONTAINER = "pytorch"
"""The name that the operator's webhook asks for."""
ENDPOINT = "$(PET_RDZV_ENDPOINT)"
QUEUE = "kueue.x-k8s.io/queue-name"
"""The label that puts a job into a queue: https://kueue.sigs.k8s.io/docs/concepts/local_queue/"""


def pytorch_job(job: Job) -> Object:
    """The job as workers alone, with an elastic policy that allows no other number of them.

    A master would give every worker an init container that has no security context, from an image
    that a closed cluster cannot pull. The exit code of a pod decides what follows: 128 and above, as
    after a lost peer or a kill, starts it again; 1 and 2 fail the job.
    """
    config = job.config
    queued = config.queue is not None
    return {
        "apiVersion": "kubeflow.org/v1",
        "kind": "PyTorchJob",
        "metadata": {"name": config.name, "labels": {**labels(job), **queue_label(job)}},
        "spec": {
            "runPolicy": {
                # Pods of a finished job that run on would hold their machines.
                "cleanPodPolicy": "Running",
                **(
                    {"activeDeadlineSeconds": seconds(config.deadline)}
                    if config.deadline is not None
                    else {}
                ),
                # Kueue starts it.
                **({"suspend": True} if queued else {}),
            },
            "nprocPerNode": str(config.processes),
            "elasticPolicy": {
                "rdzvBackend": "c10d",
                "minReplicas": config.nodes,
                "maxReplicas": config.nodes,
            },
            "pytorchReplicaSpecs": {
                "Worker": {
                    "replicas": config.nodes,
                    "restartPolicy": "ExitCode",
                    "template": template(job, CONTAINER, ENDPOINT),
                }
            },
        },
    }


def queue_label(job: Job) -> dict[str, str]:
    """What puts a job into its queue, if it has one."""
    return {} if job.config.queue is None else {QUEUE: job.config.queue}
