"""Starting the process of a model, before anything is imported that it does not need."""

import secrets
import socket
from dataclasses import dataclass
from pathlib import Path

from retort.core.forks import client

AS_SEALED = "sealed"
"""In the place of a precision: the one of the checkpoint."""
_WAITING_WORKERS = 128


class Start:
    """How the process of a model is started.

    Attributes:
        checkpoint: what it loads.
        listener: where it and its workers connect to.
    """

    def __init__(self, checkpoint: Path, workers: int, precision: str | None = None) -> None:
        """
        Args:
            workers: processes that are to compute.
            precision: of the factors of the products of layers; None: the one of the checkpoint.
        """
        self.checkpoint, self._workers = checkpoint, workers
        self._precision = precision or AS_SEALED
        # In no file system: a container may have none that can be written.
        self._address = f"retort-{secrets.token_hex(16)}"
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(f"\0{self._address}")
        self.listener.listen(_WAITING_WORKERS)

    def begin(self, seal: str | None) -> "Begun":
        """Start it for the first time."""
        return Begun(self, self.start(seal))

    def start(self, seal: str | None) -> client.Process:
        """Start it.

        Args:
            seal: the one that the checkpoint must have.
        """
        module = "retort.serve.engine.model_process"
        arguments = [self._address, str(self.checkpoint), str(self._workers), self._precision]
        return client.start([module, *arguments, *([] if seal is None else [seal])], quietly=True)


@dataclass(frozen=True)
class Begun:
    """A model's process that loads it."""

    start: Start
    process: client.Process
