"""All controllers of a cluster."""

from pathlib import Path
from typing import Self

from retort.launch.cluster.controllers.deployments.controller import Deployments, ReplicaSets
from retort.launch.cluster.controllers.frame.loop import Loop
from retort.launch.cluster.controllers.jobs.controller import Jobs
from retort.launch.cluster.controllers.jobsets.controller import JobSets, TrainJobs
from retort.launch.cluster.controllers.pytorchjob.controller import PyTorchJobs
from retort.launch.cluster.controllers.scheduling.claims import Claims
from retort.launch.cluster.controllers.scheduling.node import Node
from retort.launch.cluster.controllers.scheduling.scheduler import Scheduler
from retort.launch.cluster.controllers.services.controller import Services
from retort.launch.cluster.objects.registry import Registry


class Controllers:
    """They act from when this returns until `close`.

    Args:
        node: what there is for pods.
        claims: `claims/NAMESPACE/NAME` becomes the folder of a claim.
        gangs: whether the pods of a PyTorchJob start all or none.
    """

    def __init__(self, registry: Registry, node: Node, claims: Path, gangs: bool = False) -> None:
        self._loop = Loop(
            registry,
            (
                Scheduler(registry, node),
                Claims(registry, claims),
                Jobs(registry),
                JobSets(registry),
                TrainJobs(registry),
                PyTorchJobs(registry, gangs),
                Deployments(registry),
                ReplicaSets(registry),
                Services(registry),
            ),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End, after what has begun."""
        self._loop.close()
