"""What makes the objects of a cluster happen: controllers, and the node that runs its pods."""

import logging
import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from retort.launch.cluster.controllers.controllers import Controllers
from retort.launch.cluster.controllers.frame.events import Recorder
from retort.launch.cluster.controllers.scheduling.node import Node
from retort.launch.cluster.node.containers.cgroups import ControlGroups
from retort.launch.cluster.node.containers.images import Images
from retort.launch.cluster.node.kubelet import Kubelet
from retort.launch.cluster.node.machine import AllNames, Machine
from retort.launch.cluster.node.network.network import (
    IsolatedNetwork,
    LoopbackNetwork,
    Network,
    NetworkError,
)
from retort.launch.cluster.objects.registry import Registry

_log = logging.getLogger("retort.launch")
NODE = "local"
"""The name of the only node."""


@dataclass(frozen=True)
class WorkloadOptions:
    """What a node has.

    Attributes:
        images: what an image's name stands for: the directory of an OCI layout, or a program.
        is_plain: whether pods are processes without namespaces, though the kernel may allow some.
        pretended_gpus: GPUs that pods are granted although there are none.
        gangs: whether the pods of a PyTorchJob start all or none.
    """

    images: Mapping[str, Path] = field(default_factory=dict)
    is_plain: bool = False
    pretended_gpus: int = 0
    gangs: bool = False


class Workloads:
    """Controllers and a node, from when this returns until `close`.

    Args:
        directory: of the cluster, for claims, unpacked images, and what pods have while they run.
        logs: the folder for what containers say.
    Raises:
        UserError: an image's name stands for nothing that can be run.
    """

    def __init__(
        self, registry: Registry, directory: Path, logs: Path, options: WorkloadOptions
    ) -> None:
        claims = directory / "claims"
        with ExitStack() as opened:
            images = Images(options.images, directory / "images")
            network = _network(options)
            opened.callback(network.close)
            cgroups = ControlGroups(f"retort-{os.getpid()}")
            opened.callback(cgroups.close)
            if cgroups.refusal:
                _log.info("limits of pods are not enforced: control groups: %s", cgroups.refusal)
            recorder = Recorder(registry, "kubelet")
            machine = Machine(
                *(NODE, network.host, registry, recorder, images, network, cgroups),
                *(directory / "pods", logs, lambda namespace, name: claims / namespace / name),
                AllNames(),
            )
            opened.callback(Kubelet(machine).close)
            opened.callback(Controllers(registry, _node(options), claims, options.gangs).close)
            self._opened = opened.pop_all()

    def close(self) -> None:
        """End, and with it everything that runs in pods."""
        self._opened.close()


def _network(options: WorkloadOptions) -> Network:
    if options.is_plain:
        return LoopbackNetwork()
    try:
        return IsolatedNetwork()
    except NetworkError as error:
        _log.warning("pods are plain processes, on loopback and with your files: %s", error)
        return LoopbackNetwork()


def _node(options: WorkloadOptions) -> Node:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    gpus = {"nvidia.com/gpu": str(options.pretended_gpus)} if options.pretended_gpus else {}
    allocatable = {"cpu": str(len(os.sched_getaffinity(0))), "memory": str(memory), **gpus}
    return Node(NODE, allocatable)
