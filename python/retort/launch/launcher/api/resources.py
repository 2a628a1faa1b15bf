"""Kinds that a job has to do with, and where the API has them."""

from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]
"""A Kubernetes object, or a part of one."""


@dataclass(frozen=True)
class Resource:
    """A kind, by the words of its URL."""

    group: str
    version: str
    kind: str
    plural: str

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str, name: str = "") -> str:
        """Of an object, or without a name of all of them; without a namespace of all namespaces."""
        root = f"/apis/{self.group}" if self.group else "/api"
        inside = f"/namespaces/{namespace}" if namespace else ""
        return f"{root}/{self.version}{inside}/{self.plural}{f'/{name}' if name else ''}"


POD = Resource("", "v1", "Pod", "pods")
EVENT = Resource("", "v1", "Event", "events")
CLAIM = Resource("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims")
CONFIG_MAP = Resource("", "v1", "ConfigMap", "configmaps")
NETWORK_POLICY = Resource("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies")
POD_MONITOR = Resource("monitoring.coreos.com", "v1", "PodMonitor", "podmonitors")
SECRET = Resource("", "v1", "Secret", "secrets")
PYTORCH_JOB = Resource("kubeflow.org", "v1", "PyTorchJob", "pytorchjobs")
TRAIN_JOB = Resource("trainer.kubeflow.org", "v1alpha1", "TrainJob", "trainjobs")
RUNTIME = Resource("trainer.kubeflow.org", "v1alpha1", "TrainingRuntime", "trainingruntimes")
LOCAL_QUEUE = Resource("kueue.x-k8s.io", "v1beta1", "LocalQueue", "localqueues")
WORKLOAD = Resource("kueue.x-k8s.io", "v1beta1", "Workload", "workloads")
JOBS = (PYTORCH_JOB, TRAIN_JOB)
"""What an operator trains by."""
_RESOURCES = (
    *(POD, EVENT, CLAIM, CONFIG_MAP, NETWORK_POLICY, POD_MONITOR, SECRET),
    *(PYTORCH_JOB, TRAIN_JOB, RUNTIME, LOCAL_QUEUE, WORKLOAD),
)
_BY_KIND = {(one.api_version, one.kind): one for one in _RESOURCES}


def resource_of(item: Object) -> Resource:
    """The kind of an object that is rendered here.

    Raises:
        KeyError: it is none that a job has.
    """
    return _BY_KIND[item["apiVersion"], item["kind"]]
