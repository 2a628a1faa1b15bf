"""Engines: who reads the pieces of a source. Which one does has no influence on what is read."""

import multiprocessing
import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain, islice
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Protocol

from retort.core.errors import RetortError
from retort.core.machine import processors
from retort.data.reading.chunks import Chunk
from retort.data.reading.read_piece import ReadingJob, read_piece
from retort.data.sources.pieces import Piece

_PIECES_WORTH_WORKERS = 8


class Workers(Protocol):
    """What reads pieces, here or elsewhere."""

    def run(self, job: ReadingJob, pieces: Iterable[Piece]) -> Iterator[Chunk]:
        """Every chunk of every piece once: those of one piece in order, pieces in any.

        Args:
            pieces: asked for one by one, late: each carries what is known by then.
        Raises:
            RetortError: a piece cannot be read, or who reads it was lost for good.
        """


class LocalWorkers:
    """Reads in this process, or in several of this machine.

    A worker ends with the process that started it, however that ends: its pipe closes then.
    """

    def __init__(self, workers: int | None = None) -> None:
        """
        Args:
            workers: number of processes; None: one a core for a large source, else one.
        """
        self._workers = workers

    def run(self, job: ReadingJob, pieces: Iterable[Piece]) -> Iterator[Chunk]:
        """As `Workers.run`."""
        waiting = iter(pieces)
        first = next(waiting, None)
        if first is None:
            return
        waiting = chain([first], waiting)
        workers = self._workers or _fitting_workers(first)
        alone = first.share == 1.0 or any(file.private for file in first.files)
        if workers == 1 or alone:
            for piece in waiting:
                yield from read_piece(job, piece)
            return
        processes: list[BaseProcess] = []
        connections: list[Connection] = []
        try:
            firsts = list(islice(waiting, workers))
            with _undisturbed():
                for _ in firsts:
                    process, connection = _start()
                    processes.append(process)
                    connections.append(connection)
            for connection, piece in zip(connections, firsts, strict=True):
                _send(connection, job)  # waits until the worker is there, as all are by then
                _send(connection, piece)
            yield from _gather(connections, waiting)
        except BaseException:
            for process in processes:
                process.terminate()
            raise
        finally:
            for connection in connections:
                connection.close()
            for process in processes:
                process.join()


def _fitting_workers(first: Piece) -> int:
    """As many as there are cores, or one where starting them would take longer than the work."""
    return processors() if first.share < 1 / _PIECES_WORTH_WORKERS else 1


def _gather(connections: list[Connection], waiting: Iterator[Piece]) -> Iterator[Chunk]:
    """Chunks as they come; who has read a piece is given the next one."""
    busy = list(connections)
    while busy:
        for connection in wait(busy):
            assert isinstance(connection, Connection)
            try:
                answer: Chunk | RetortError | None = connection.recv()
            except (EOFError, ConnectionError) as error:
                raise _killed() from error
            if isinstance(answer, RetortError):
                raise answer
            if answer is not None:
                yield answer
                continue
            piece = next(waiting, None)
            if piece is None:
                busy.remove(connection)
            else:
                _send(connection, piece)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Let signals to stop wait until the block has ended; processes started in it hear no Ctrl-C.

    Ctrl-C reaches all processes, of which one speaks; and half a start would leave a worker that
    complains.
    """
    came: list[int] = []
    resource_tracker.ensure_running()  # which a start would do, and let Ctrl-C through again
    handlers = {
        number: signal.signal(number, lambda number, _: came.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    listening = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, listening)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for one in came:
            signal.raise_signal(one)


def _start() -> tuple[BaseProcess, Connection]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs,), daemon=True)
    process.start()
    theirs.close()
    return process, ours


def _send(connection: Connection, message: ReadingJob | Piece) -> None:
    try:
        connection.send(message)
    except (BrokenPipeError, ConnectionError) as error:
        raise _killed() from error


def _killed() -> RetortError:
    return RetortError(
        "a worker process was killed, perhaps for want of memory; "
        "run the command again: what was tokenised is kept"
    )


def _work(connection: Connection) -> None:
    """What a worker process does until its pipe closes."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the processes are the parallelism
    with suppress(EOFError, ConnectionError):
        job: ReadingJob = connection.recv()
        while True:
            piece: Piece = connection.recv()
            try:
                for chunk in read_piece(job, piece):
                    connection.send(chunk)
                connection.send(None)
            except RetortError as error:
                connection.send(error)
