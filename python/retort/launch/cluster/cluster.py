"""A cluster in a directory: its objects, its API server, what makes them happen, and what cleans up after removals."""

import os
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from retort.core.atomic import storage_errors
from retort.core.errors import StorageError, UserError, shown
from retort.core.locks import take_lock
from retort.launch.cluster.kinds.table import NAMESPACE
from retort.launch.cluster.objects.collector import Collector
from retort.launch.cluster.objects.registry import Registry
from retort.launch.cluster.serving.credentials import credentials, write_kubeconfig
from retort.launch.cluster.serving.serving import Serving
from retort.launch.cluster.store.store import Store
from retort.launch.cluster.workloads import WorkloadOptions, Workloads

_DATABASE = "objects.sqlite"
_NAMESPACES = ("default", "kube-node-lease", "kube-public", "kube-system")
HISTORY = 4_000
"""Changes that are remembered for those who watch."""


class Cluster:
    """A cluster that answers, from when this returns until `close`.

    Attributes:
        registry: its objects, for controllers in this process.
        logs: the folder for the logs of containers (`retort.launch.cluster.logs.logs`).
        kubeconfig: the file by which clients find it.

    Args:
        directory: where all of it is kept; made if it is not there.
        bound: where it listens (`retort.launch.cluster.serving.serving.bind`).
        history: changes that are remembered for those who watch.
        workloads: what its node has; without it, objects are kept, and nothing comes of them.
    Raises:
        UserError: another cluster runs there, something else lies there, or an image is none.
        StorageError: the directory cannot be written.
    """

    def __init__(
        self,
        directory: Path,
        bound: socket.socket,
        history: int = HISTORY,
        workloads: WorkloadOptions | None = None,
    ) -> None:
        self.logs = directory / "logs"
        self.kubeconfig = directory / "kubeconfig"
        with ExitStack() as opened:
            opened.callback(bound.close)
            _prepare(directory)
            _lock(directory, opened)
            found = credentials(directory)
            store = Store(directory / _DATABASE, history)
            opened.callback(store.close)
            self.registry = Registry(store)
            _make_namespaces(self.registry)
            collector = Collector(self.registry)
            opened.callback(collector.close)
            if workloads is not None:
                acting = Workloads(self.registry, directory, self.logs, workloads)
                opened.callback(acting.close)
            self._serving = Serving(self.registry, self.logs, bound, found)
            opened.callback(self._serving.close)
            self.url = self._serving.url
            write_kubeconfig(self.kubeconfig, self.url, found)
            self._opened = opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def wait(self) -> None:
        """Return when the server has ended, though nobody has closed it."""
        self._serving.ended.wait()

    def close(self) -> None:
        """End. The next cluster in this directory goes on with the same objects."""
        self._opened.close()


def _prepare(directory: Path) -> None:
    with storage_errors(directory):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        is_ours = (directory / _DATABASE).exists() or (directory / "tls").exists()
        if not is_ours and any(directory.iterdir()):
            raise UserError(
                f"{shown(directory)}: holds something else than a cluster; choose another "
                "--directory, or one that is not there yet"
            )
        (directory / "logs").mkdir(exist_ok=True)


def _lock(directory: Path, opened: ExitStack) -> None:
    try:
        descriptor = take_lock(directory)
    except BlockingIOError as error:
        raise UserError(
            f"{shown(directory)}: another cluster runs there; stop it, or choose another --directory"
        ) from error
    except OSError as error:
        raise StorageError(
            f"{shown(directory)}: cannot be locked: {error.strerror}; choose another --directory"
        ) from error
    opened.callback(os.close, descriptor)


def _make_namespaces(registry: Registry) -> None:
    for name in _NAMESPACES:
        if registry.find(NAMESPACE, "", name) is None:
            registry.create(NAMESPACE, "", {"metadata": {"name": name}})
