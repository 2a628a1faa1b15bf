"""The pod of a training job, the same for every operator.

It passes the Pod Security Standard "restricted" (https://kubernetes.io/docs/concepts/security/pod-security-standards/).
"""

import hashlib
from collections.abc import Mapping
from typing import Any

from retort.launch.job import DATA, RECIPES, RUNS, Job
from retort.launch.units import seconds

Object = dict[str, Any]
"""A Kubernetes object, or a part of one."""

USER = 65532
"""Of the image, who is nobody on a machine."""
STEP, CHECKPOINT = "retort/longest-step", "retort/longest-checkpoint"
"""Annotations of a pod: times that its grace period has room for."""
METRICS = "metrics"
"""The name of the port that Prometheus reads."""
_SPOT_LABEL = {
    "aks": ("kubernetes.azure.com/scalesetpriority", "spot"),
    "gke": ("cloud.google.com/gke-spot", "true"),
    "karpenter": ("karpenter.sh/capacity-type", "spot"),
}
"""Of machines that may be taken away. The taint, where there is one, is of the same name and value."""
_TMP = "2Gi"


def labels(job: Job) -> dict[str, str]:
    """Of everything that is this job's. They are the job's own, as operators' labels differ.

    See https://kubernetes.io/docs/concepts/overview/working-with-objects/common-labels/.
    """
    return {
        "app.kubernetes.io/name": "retort-training",
        "app.kubernetes.io/instance": job.config.name,
        "app.kubernetes.io/part-of": "retort",
    }


def recipe_map_name(job: Job) -> str:
    """Of the ConfigMap with the recipe's file. Another text is another ConfigMap, so pods that start
    again read what the others have read."""
    assert job.recipe_file is not None
    digest = hashlib.sha256("\0".join(job.recipe_file).encode()).hexdigest()
    return f"{job.config.name}-{digest[:10]}"


def template(job: Job, container: str, endpoint: str) -> Object:
    """A pod template, less what only one operator needs.

    Args:
        container: the name that the operator looks for.
        endpoint: where the pods meet, in variables that the operator sets.
    """
    config = job.config
    annotations = {STEP: config.step, CHECKPOINT: config.checkpoint}
    if config.topology is not None:
        annotations["kueue.x-k8s.io/podset-required-topology"] = config.topology
    return {
        "metadata": {"labels": labels(job), "annotations": annotations},
        "spec": {
            "automountServiceAccountToken": False,
            # Variables for the services of a namespace would enter the environment otherwise.
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": seconds(config.grace),
            **({"priorityClassName": config.priority} if config.priority is not None else {}),
            **_machines(job),
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": USER,
                "runAsGroup": USER,
                "fsGroup": USER,
                "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [_container(job, container, endpoint)],
            "volumes": _volumes(job),
        },
    }


def _container(job: Job, name: str, endpoint: str) -> Object:
    config = job.config
    resources = {"cpu": config.cpu, "memory": config.memory}
    if config.gpus:
        resources["nvidia.com/gpu"] = str(config.gpus)
    return {
        "name": name,
        "image": job.image,
        "args": _arguments(job, endpoint),
        **({"ports": [_metrics_port(job)]} if config.metrics is not None else {}),
        "env": [{"name": key, "value": value} for key, value in _environment(job).items()],
        **(
            {"envFrom": [{"secretRef": {"name": name}} for name in config.secrets]}
            if config.secrets
            else {}
        ),
        "resources": {"requests": resources, "limits": dict(resources)},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        # The last lines of a pod that failed are in its status, and so in `kubectl describe`.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": _mounts(job),
    }


def _arguments(job: Job, endpoint: str) -> list[str]:
    """Of the image's own entry point; it has no shell. The operator's variables say how many there are."""
    config = job.config
    recipe = f"{RECIPES}/{job.recipe_file[0]}" if job.recipe_file else config.recipe
    return [
        *("--config", recipe),
        *("--out", f"{RUNS}/{config.name}"),
        *(word for override in config.overrides for word in ("--set", override)),
        *("--nproc", "$(PET_NPROC_PER_NODE)"),
        *("--nnodes", "$(PET_NNODES)"),
        *("--rdzv-endpoint", endpoint),
        *("--grace", str(config.grace_s)),
        *(("--metrics-port", str(config.metrics.port)) if config.metrics is not None else ()),
    ]


def _metrics_port(job: Job) -> Object:
    assert job.config.metrics is not None
    return {"name": METRICS, "containerPort": job.config.metrics.port, "protocol": "TCP"}


def _environment(job: Job) -> Mapping[str, str]:
    gpus = {
        "NCCL_DEBUG": "WARN",
        "TORCH_NCCL_ASYNC_ERROR_HANDLING": "1",
        "TORCH_NCCL_HEARTBEAT_TIMEOUT_SEC": "300",
    }
    return {
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "OMP_NUM_THREADS": str(job.recipe.train.threads),
        **(gpus if job.config.gpus else {}),
        **job.config.environment,
    }


def _volumes(job: Job) -> list[Object]:
    config = job.config
    found: list[Object] = [
        {"name": "runs", "persistentVolumeClaim": {"claimName": config.runs.claim}},
        {"name": "tmp", "emptyDir": {"sizeLimit": _TMP}},
        # A container has 64 MiB otherwise, too little for what processes of a pod hand each other.
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": config.shared_memory}},
    ]
    if config.data is not None:
        claim = {"claimName": config.data.claim, "readOnly": True}
        found.append({"name": "data", "persistentVolumeClaim": claim})
    if job.recipe_file is not None:
        found.append({"name": "recipe", "configMap": {"name": recipe_map_name(job)}})
    return found


def _mounts(job: Job) -> list[Object]:
    return [
        {"name": "runs", "mountPath": RUNS},
        {"name": "tmp", "mountPath": "/tmp"},
        {"name": "shm", "mountPath": "/dev/shm"},
        *([{"name": "data", "mountPath": DATA, "readOnly": True}] if job.config.data else []),
        *([{"name": "recipe", "mountPath": RECIPES, "readOnly": True}] if job.recipe_file else []),
    ]


def _machines(job: Job) -> Object:
    """Which machines a pod may be on."""
    tolerations: list[Object] = []
    selector = {}
    if job.config.gpus:
        tolerations.append({"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"})
    if job.config.spot is not None:
        key, value = _SPOT_LABEL[job.config.spot]
        selector[key] = value
        tolerations.append(
            {"key": key, "operator": "Equal", "value": value, "effect": "NoSchedule"}
        )
    return {
        **({"nodeSelector": selector} if selector else {}),
        **({"tolerations": tolerations} if tolerations else {}),
    }
