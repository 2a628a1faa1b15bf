"""Everything that a job is on a cluster, as one list of objects and as YAML."""

import re
from collections.abc import Sequence
from typing import Any, Literal

import yaml

from retort.launch.job import Job
from retort.launch.pods import METRICS, Object, labels, recipe_map_name
from retort.launch.pytorch_job import pytorch_job
from retort.launch.train_job import train_job, training_runtime

Operator = Literal["v1", "v2"]
"""Kubeflow's training operator, whose jobs are PyTorchJobs, or its trainer, whose are TrainJobs."""


def objects(job: Job, operator: Operator = "v1") -> list[Object]:
    """What is applied, in that order: what a pod needs is there before it."""
    jobs = [pytorch_job(job)] if operator == "v1" else [training_runtime(job), train_job(job)]
    return [*_claims(job), *_recipe_map(job), _network_policy(job), *_pod_monitor(job), *jobs]


def _claims(job: Job) -> list[Object]:
    runs = job.config.runs
    if runs.size is None:
        return []
    spec = {
        "accessModes": [runs.access],
        **({"storageClassName": runs.storage_class} if runs.storage_class is not None else {}),
        "resources": {"requests": {"storage": runs.size}},
    }
    # It is no part of the job, which others may share it with.
    metadata = {"name": runs.claim, "labels": {"app.kubernetes.io/part-of": "retort"}}
    return [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": metadata,
            "spec": spec,
        }
    ]


def _recipe_map(job: Job) -> list[Object]:
    if job.recipe_file is None:
        return []
    name, text = job.recipe_file
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": recipe_map_name(job), "labels": labels(job)},
            "immutable": True,
            "data": {name: text},
        }
    ]


def _network_policy(job: Job) -> Object:
    """The job's pods reach each other, at ports that gloo and NCCL choose, and names; nothing else.
    They are reached by each other, and where their figures are by anybody: Prometheus is in a
    namespace whose labels only the cluster knows.

    Policies add up: what more a job needs, such as a store of documents, is a policy of its own.
    """
    pods = {"podSelector": {"matchLabels": labels(job)}}
    tcp = [{"protocol": "TCP"}]
    metrics = job.config.metrics
    read = [] if metrics is None else [{"ports": [{"protocol": "TCP", "port": metrics.port}]}]
    dns = [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": job.config.name, "labels": labels(job)},
        "spec": {
            **pods,
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": [pods], "ports": tcp}, *read],
            "egress": [{"to": [pods], "ports": tcp}, {"ports": dns}],
        },
    }


def _pod_monitor(job: Job) -> list[Object]:
    """What has the Prometheus operator read the figures of every pod
    (https://prometheus-operator.dev/docs/api-reference/api/#monitoring.coreos.com/v1.PodMonitor).
    """
    metrics = job.config.metrics
    if metrics is None:
        return []
    return [
        {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "PodMonitor",
            "metadata": {"name": job.config.name, "labels": {**labels(job), **metrics.labels}},
            "spec": {
                "selector": {"matchLabels": labels(job)},
                "podMetricsEndpoints": [{"port": METRICS}],
            },
        }
    ]


class _Dumper(yaml.SafeDumper):
    """Quotes what one reader or another of YAML takes for something else than text, such as 3e-5 and y."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    plain = re.match(r"([A-Za-z/$]|--)\S", text)
    style = "|" if "\n" in text else "" if plain else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def to_yaml(found: Sequence[Object]) -> str:
    """Documents that `kubectl apply -f -` takes, the same text for the same objects."""
    text: str = yaml.dump_all(
        found, Dumper=_Dumper, sort_keys=False, explicit_start=True, width=10_000
    )
    return text
