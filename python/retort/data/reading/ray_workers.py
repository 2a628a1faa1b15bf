"""Reads the pieces of a source on a Ray cluster (Moritz et al. 2018).

A piece is a task. Its chunks come back one by one, and a task that is ahead of who takes them
waits, so memory is bounded on both sides. A task whose node was lost runs again elsewhere; since
job and piece alone decide the chunks, those already taken are the same and are not given twice.
"""

import copy
import os
import socket
import time
from collections.abc import Iterable, Iterator
from typing import Any, cast

import ray
from ray.exceptions import GetTimeoutError, RayError, RaySystemError, RayTaskError

from retort.core.errors import RetortError, UserError
from retort.data.reading.chunks import Chunk
from retort.data.reading.code_identity import CodeIdentity, own_identity
from retort.data.reading.ray_cluster import AUTO, LOCAL, Cluster, connected
from retort.data.reading.read_piece import ReadingJob, read_piece
from retort.data.sources.pieces import Piece

_CHUNKS_AHEAD = 2
_RETRIES = 5
_LOOK_SECONDS = 5.0


class RayWorkers:
    """Reads on the nodes of a Ray cluster.

    Each node needs the source under the same address, and the same commit and locks as this
    process: a node with others is refused.
    """

    def __init__(
        self, address: str = AUTO, workers: int | None = None, patience: float = 60.0
    ) -> None:
        """
        Args:
            address: HOST:PORT of the cluster's head, `auto` or `local`.
            workers: pieces that are read at a time, or cores of a `local` cluster; None: one a
                core, of all cores.
            patience: seconds without a head or a node to work, after which to give up.
        """
        self._address = address
        self._workers = workers
        self._patience = patience

    def run(self, job: ReadingJob, pieces: Iterable[Piece]) -> Iterator[Chunk]:
        """As `Workers.run`.

        Raises:
            UserError: no cluster can be reached, or a node's code is not ours.
            RetortError: a piece cannot be read, the cluster was lost, or a piece has ended the
                processes that read it too often.
        """
        with connected(self._address, self._workers, self._patience) as cluster:
            workers = None if self._address == LOCAL else self._workers
            yield from _gather(cluster, workers, job, pieces)


def _gather(
    cluster: Cluster, workers: int | None, job: ReadingJob, pieces: Iterable[Piece]
) -> Iterator[Chunk]:
    waiting = iter(pieces)
    read: Any = ray.remote(read_as_task)
    read = read.options(
        num_cpus=1, max_retries=_RETRIES, _generator_backpressure_num_objects=_CHUNKS_AHEAD
    )
    shared = ray.put(job), ray.put(own_identity())
    running: list[Any] = []
    looked, most = -_LOOK_SECONDS, 0
    while True:
        if time.monotonic() - looked > _LOOK_SECONDS:
            # One task waits for each that runs, so that no core does.
            most = 2 * cluster.cores()
            if workers is not None:
                most = min(most, workers)
            looked = time.monotonic()
        while len(running) < most and (piece := next(waiting, None)) is not None:
            running.append(read.remote(*shared, piece))
        if not running:
            return
        for task in _ready(cluster, running):
            try:
                chunk = next(task)
            except StopIteration:
                running.remove(task)
                continue
            yield _taken(cluster, chunk)


def _ready(cluster: Cluster, tasks: list[Any]) -> list[Any]:
    """A task that has a chunk or has ended, or none after a while."""
    with cluster.asked():
        return cast(list[Any], ray.wait(tasks, timeout=_LOOK_SECONDS)[0])


def _taken(cluster: Cluster, chunk: "ray.ObjectRef[Chunk]") -> Chunk:
    """A chunk, copied, so that the cluster need not keep it.

    Raises:
        RetortError: it could not be made.
    """
    while True:
        try:
            with cluster.asked():
                return copy.deepcopy(ray.get(chunk, timeout=_LOOK_SECONDS))
        except GetTimeoutError:
            cluster.cores()
        except RayTaskError as error:
            raise _cause(error) from None
        except RayError as error:
            why = " ".join(str(error).split())
            raise cluster.lost(f"a piece could not be read ({why})") from error


def _cause(error: RayTaskError) -> Exception:
    """What a task has raised: our own error as it was, anything else with Ray's traceback."""
    cause: Exception = error.cause
    if isinstance(cause, RetortError):
        return cause
    if isinstance(cause, ImportError | RaySystemError):
        reason = str(cause).strip().splitlines()[-1]
        return UserError(
            f"a node of the Ray cluster cannot run this machine's code ({reason}); start Ray on it "
            "from the commit and locks of this machine"
        )
    return error


def read_as_task(job: ReadingJob, identity: CodeIdentity, piece: Piece) -> Iterator[Chunk]:
    """What a node does with a piece.

    Raises:
        UserError: the node's code or libraries are not those of `identity`.
    """
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the tasks are the parallelism
    if difference := identity.difference(own_identity()):
        raise UserError(
            f"node {socket.gethostname()}: {difference}; start Ray on it from the "
            "commit and locks of this machine"
        )
    yield from read_piece(job, piece)
