"""Makes the files of shards, in this process or in several.

Which process makes a shard has no influence on its bytes. A worker ends with the process that
started it, however that ends: its pipe closes then.
"""

import hashlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType
from typing import Self

from retort.core.atomic import storage_errors, sync_path
from retort.core.errors import RetortError
from retort.data.encoders import encoder_for
from retort.data.shards import Entry, ShardFacts, shard_content, shard_facts

_UNFINISHED = ".unfinished"


@dataclass(frozen=True)
class ShardSetup:
    """What holds for all shards of a store.

    Attributes:
        target: the store; errors of writing name it.
        work: directory that the files go to, as `<input>-<sha256>`.
        definition: content of the `tokenizer.json`.
        boundary: token number of the slot after each document.
        batch: number of documents that are encoded at a time.
    """

    target: Path
    work: Path
    definition: bytes
    boundary: int
    batch: int


class ShardMaker:
    """Tokenises documents and writes them as a shard."""

    def __init__(self, setup: ShardSetup) -> None:
        self._setup = setup
        self._encoder = encoder_for(setup.definition)

    def make(self, given: str, entries: Sequence[Entry]) -> ShardFacts:
        """Write one shard. Its file appears whole or not at all.

        Args:
            given: the shard's input digest.
        Raises:
            StorageError: the disk is full or permission is missing.
        """
        tokens = []
        for start in range(0, len(entries), self._setup.batch):
            batch = entries[start : start + self._setup.batch]
            tokens += self._encoder.encode([entry.text for entry in batch])
        content = shard_content(entries, tokens, self._setup.boundary, given)
        digest = hashlib.sha256()
        for piece in content:
            digest.update(piece)
        unfinished = self._setup.work / f"{given}-{os.getpid()}{_UNFINISHED}"
        with storage_errors(self._setup.target):
            with unfinished.open("wb") as file:
                file.writelines(content)
            sync_path(unfinished)
            facts = shard_facts(unfinished, digest.hexdigest())
            unfinished.rename(finished_file(self._setup.work, facts))
        return facts


def finished_file(work: Path, facts: ShardFacts) -> Path:
    """Where a finished shard lies in the work directory."""
    return work / f"{facts.input}-{facts.sha256}"


def finished_shards(work: Path) -> dict[str, tuple[Path, str]]:
    """The finished shards in a work directory: input digest -> file and its SHA-256, unchecked.

    What a killed writer left unfinished is removed.
    """
    found = {}
    for path in sorted(work.iterdir()):
        if path.name.endswith(_UNFINISHED):
            path.unlink(missing_ok=True)
        else:
            given, _, sha256 = path.name.partition("-")
            found[given] = (path, sha256)
    return found


class ShardPool:
    """Makes shards in `workers` processes; with one, in this process."""

    def __init__(
        self, setup: ShardSetup, workers: int, finished: Callable[[ShardFacts], None]
    ) -> None:
        """
        Args:
            finished: called in this process with every shard made, in no particular order.
        """
        self._setup = setup
        self._workers = workers
        self._finished = finished
        self._maker: ShardMaker | None = None
        self._processes: list[BaseProcess] = []
        self._idle: list[Connection] = []
        self._busy: list[Connection] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for connection in (*self._idle, *self._busy):
            connection.close()
        for process in self._processes:
            if kind is not None:
                process.terminate()
            process.join()

    def submit(self, given: str, entries: Sequence[Entry]) -> None:
        """Have a shard made; returns when a process has taken it, so few wait in memory.

        Raises:
            StorageError: the disk is full or permission is missing.
            RetortError: a worker process was killed.
        """
        if self._workers == 1:
            self._maker = self._maker or ShardMaker(self._setup)
            self._finished(self._maker.make(given, entries))
            return
        while len(self._processes) < self._workers:
            self._start()
        while not self._idle:
            self._collect()
        connection = self._idle.pop()
        try:
            connection.send((given, entries))
        except BrokenPipeError as error:
            raise _killed() from error
        self._busy.append(connection)

    def drain(self) -> None:
        """Wait until every shard submitted is made."""
        while self._busy:
            self._collect()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs, self._setup), daemon=True)
        process.start()
        theirs.close()
        self._processes.append(process)
        self._idle.append(ours)

    def _collect(self) -> None:
        for connection in wait(self._busy):
            assert isinstance(connection, Connection)
            try:
                answer: ShardFacts | RetortError = connection.recv()
            except (EOFError, ConnectionError) as error:
                raise _killed() from error
            self._busy.remove(connection)
            self._idle.append(connection)
            if isinstance(answer, RetortError):
                raise answer
            self._finished(answer)


def _killed() -> RetortError:
    return RetortError(
        "a worker process was killed, perhaps for want of memory; "
        "run the command again: finished shards are kept"
    )


def _work(connection: Connection, setup: ShardSetup) -> None:
    """What a worker process does until its pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C reaches all processes; one speaks
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the processes are the parallelism
    try:
        maker: ShardMaker | None = None
        while True:
            given, entries = connection.recv()
            try:
                maker = maker or ShardMaker(setup)
                answer: ShardFacts | RetortError = maker.make(given, entries)
            except RetortError as error:
                answer = error
            connection.send(answer)
    except (EOFError, ConnectionError):
        return
