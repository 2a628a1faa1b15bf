"""What webhooks of operators refuse, which no schema holds, and what they let pass though it goes wrong."""

from collections.abc import Iterator

from retort.launch.pytorch_job import CONTAINER, QUEUE
from retort.launch.rules.documents import Document, Finding
from retort.launch.rules.templates import at, pods_of, replica_specs
from retort.launch.train_job import CONTAINER as NODE
from retort.launch.train_job import GROUP
from retort.launch.units import check_job_name

_MANAGERS = {
    "PyTorchJob": ("kubeflow.org/training-operator", "kueue.x-k8s.io/multikueue"),
    "TrainJob": (f"{GROUP}/trainjob-controller", "kueue.x-k8s.io/multikueue"),
}
_LABEL = 63
"""Characters of a DNS label, which the name of a pod is here."""


def problems(document: Document) -> Iterator[Finding]:
    """What is wrong with a job of an operator, or its runtime."""
    if document.kind in _MANAGERS:
        yield from _name(document)
        manager = at(document.value, "spec.runPolicy.managedBy") or document.spec.get("managedBy")
        allowed = _MANAGERS[document.kind]
        if manager and manager not in allowed:
            path = "spec.runPolicy.managedBy" if document.kind == "PyTorchJob" else "spec.managedBy"
            yield document.finding(
                path, f"{manager} cannot be; give {' or '.join(allowed)}, or nothing"
            )
    if document.kind == "PyTorchJob":
        yield from _pytorch_webhook(document)
    elif document.kind in ("TrainingRuntime", "ClusterTrainingRuntime"):
        yield from _runtime(document)
    elif document.kind == "TrainJob":
        yield from _train_job(document)


def traps(document: Document) -> Iterator[Finding]:
    """What the training operator accepts, and what then goes wrong."""
    if document.kind != "PyTorchJob":
        return
    found, specs = document.finding, "spec.pytorchReplicaSpecs"
    replicas = document.spec["pytorchReplicaSpecs"]
    if "Master" in replicas:
        yield found(
            f"{specs}.Master",
            "gives every worker an init container without a security context, from an image of its own; "
            "make it one more worker, with an elasticPolicy",
        )
        return
    worker = replicas["Worker"]
    policy = document.spec.get("elasticPolicy")
    if policy is None:
        yield found(
            "spec.elasticPolicy",
            "is missing, without which workers alone have nowhere to meet; give rdzvBackend, "
            "minReplicas and maxReplicas",
        )
    else:
        number = worker.get("replicas", 1)
        for key in ("minReplicas", "maxReplicas"):
            if policy.get(key, number) != number:
                yield found(
                    f"spec.elasticPolicy.{key}",
                    f"{policy[key]} is not {specs}.Worker.replicas, {number}; give {number}, as the "
                    "pods would await another number of them",
                )
    if worker.get("restartPolicy") != "ExitCode":
        yield found(
            f"{specs}.Worker.restartPolicy",
            "give ExitCode: after a lost peer pods start again, after a user's mistake they do not",
        )
    run_policy = document.spec.get("runPolicy") or {}
    queue = at(document.value, "metadata.labels").get(QUEUE)
    if queue and run_policy.get("suspend") is not True:
        yield found(
            "spec.runPolicy.suspend",
            f"give true, as the job waits in the queue {queue} until Kueue starts it",
        )
    if run_policy.get("cleanPodPolicy") not in ("Running", "All"):
        yield found(
            "spec.runPolicy.cleanPodPolicy",
            "give Running, as pods of a finished job hold their machines otherwise",
        )
    if "ttlSecondsAfterFinished" in run_policy:
        yield found(
            "spec.runPolicy.ttlSecondsAfterFinished",
            "fails for ever on a job that failed by an exit code, which has no end; remove it",
        )


def _name(document: Document) -> Iterator[Finding]:
    try:
        check_job_name(document.name)
    except ValueError as error:
        yield document.finding("metadata.name", str(error))
        return
    for pods in pods_of(document):
        last = f"{document.name}-worker-{pods.replicas - 1}"
        if len(last) > _LABEL:
            yield document.finding(
                "metadata.name",
                f"its last pod, {last}, would have {len(last)} characters; shorten it",
            )


def _pytorch_webhook(document: Document) -> Iterator[Finding]:
    """Case by case what pytorchjob_webhook.go of v1.9.4 refuses."""
    found, at_specs = document.finding, "spec.pytorchReplicaSpecs"
    specs = dict(replica_specs(document))
    if not specs:
        yield found(at_specs, "is empty; give Worker")
        return
    for path, spec in specs.items():
        kind = path.rpartition(".")[2]
        if kind not in ("Master", "Worker"):
            yield found(path, f"{kind} is no type of replicas; write Worker")
            continue
        if kind == "Master" and spec.get("replicas", 1) != 1:
            yield found(f"{path}.replicas", f"{spec['replicas']} masters cannot be; give 1")
        if kind == "Worker" and spec.get("replicas", 1) < 1:
            yield found(f"{path}.replicas", f"{spec['replicas']} workers cannot be; give 1 or more")
        containers = at(spec, "template.spec.containers") or []
        for number, container in enumerate(containers):
            if not container.get("image"):
                yield found(
                    f"{path}.template.spec.containers.{number}.image",
                    "is empty; give an image by its digest",
                )
        if CONTAINER not in [container["name"] for container in containers]:
            yield found(
                f"{path}.template.spec.containers",
                f"none is called {CONTAINER}, as the operator asks; rename it",
            )
    policy = document.spec.get("elasticPolicy")
    if policy is not None and f"{at_specs}.Worker" not in specs:
        yield found("spec.elasticPolicy", "is of workers, of which there are none; add Worker")
    if policy is not None and "nProcPerNode" in policy and "nprocPerNode" in document.spec:
        yield found("spec.elasticPolicy.nProcPerNode", "is spec.nprocPerNode, too; remove it here")


def _runtime(document: Document) -> Iterator[Finding]:
    found, path = document.finding, "spec.template.spec"
    jobs = at(document.value, path).get("replicatedJobs") or []
    named = [(number, job) for number, job in enumerate(jobs) if job["name"] == NODE]
    if not named:
        yield found(
            f"{path}.replicatedJobs", f"none is called {NODE}, as the trainer asks; rename it"
        )
        return
    number, job = named[0]
    inside = f"{path}.replicatedJobs.{number}.template"
    label = f"{GROUP}/trainjob-ancestor-step"
    if (at(job, "template.metadata.labels") or {}).get(label) != "trainer":
        yield found(
            f"{inside}.metadata.labels",
            f"has no {label}: trainer, by which the trainer finds it; add it",
        )
    containers = at(job, "template.spec.template.spec.containers") or []
    if NODE not in [container["name"] for container in containers]:
        yield found(
            f"{inside}.spec.template.spec.containers",
            f"none is called {NODE}, as the trainer asks; rename it",
        )
    for where, spec in (
        (path, at(document.value, path)),
        (f"{inside}.spec", at(job, "template.spec")),
    ):
        if "ttlSecondsAfterFinished" in spec:
            yield found(
                f"{where}.ttlSecondsAfterFinished",
                "has JobSet make a finished job again, for ever; remove it",
            )
    if not at(document.value, path).get("failurePolicy"):
        yield found(
            f"{path}.failurePolicy", "is missing, so that a lost pod ends the job; give maxRestarts"
        )


def _train_job(document: Document) -> Iterator[Finding]:
    trainer = document.spec.get("trainer")
    if trainer is None:
        yield document.finding(
            "spec.trainer",
            "is missing, so that pods are told of no others; give numNodes and numProcPerNode",
        )
        return
    for key in ("numNodes", "numProcPerNode"):
        if key not in trainer:
            yield document.finding(
                f"spec.trainer.{key}", "is missing, and would be guessed; give it"
            )
