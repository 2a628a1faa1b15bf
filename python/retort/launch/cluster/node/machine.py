"""What the pods of a node share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from retort.launch.cluster.controllers.frame.events import Recorder
from retort.launch.cluster.kinds.errors import JSONObject
from retort.launch.cluster.node.containers.cgroups import ControlGroups
from retort.launch.cluster.node.containers.images import Images
from retort.launch.cluster.node.network.names import Names
from retort.launch.cluster.node.network.network import Network
from retort.launch.cluster.objects.registry import Registry


class AllNames:
    """The names of each namespace, as they are at the moment. Any thread may ask."""

    def __init__(self) -> None:
        self._found: Mapping[str, Names] = {}

    def __call__(self) -> Mapping[str, Names]:
        return self._found

    def replace(self, found: Mapping[str, Names]) -> bool:
        """Have others from now on; whether they are others."""
        is_new = found != self._found
        self._found = found
        return is_new


@dataclass(frozen=True)
class Machine:
    """What a node's pods are run with.

    Attributes:
        name, address: of the node.
        registry: where pods are, and what they name.
        recorder: writes events in the name of the node.
        images, network, cgroups: what there is.
        folder: for what is the pods' own.
        logs: for what containers say.
        claim: the directory of a claim, by its namespace and name.
        names: those of each namespace.
    """

    name: str
    address: str
    registry: Registry
    recorder: Recorder
    images: Images
    network: Network
    cgroups: ControlGroups
    folder: Path
    logs: Path
    claim: Callable[[str, str], Path]
    names: AllNames

    def folder_of(self, pod: JSONObject) -> Path:
        """For what is a pod's own, as long as it is there."""
        return self.folder / str(pod["metadata"]["uid"])
