"""Objects in a SQLite file, with a number for every change, so that a restart goes on where the last run was.

What `write` has returned from is on the disk. All objects are also in memory, where they are read.
"""

import os
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from retort.core.atomic import storage_errors
from retort.core.errors import StorageError, UserError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
    resource TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
    revision INTEGER NOT NULL, content BLOB NOT NULL,
    PRIMARY KEY (resource, namespace, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS changes (
    revision INTEGER PRIMARY KEY,
    resource TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
    before BLOB, after BLOB
);
"""
_FORMAT = 1
FIRST_REVISION = 1
"""Of a store that nothing was written to."""


class Key(NamedTuple):
    """Where an object is kept. The namespace is empty where the kind has none."""

    resource: str
    namespace: str
    name: str


@dataclass(frozen=True)
class Stored:
    """An object as it is kept.

    Attributes:
        revision: of the change that wrote it.
        content: its JSON.
    """

    revision: int
    content: bytes


@dataclass(frozen=True)
class Change:
    """One object made, changed or removed.

    Attributes:
        revision: its number; changes count up by one, over all objects.
        before: the object's JSON until then; None if there was none.
        after: its JSON from then on; None if there is none.
    """

    revision: int
    key: Key
    before: bytes | None
    after: bytes | None


class RevisionForgotten(LookupError):
    """The changes after a revision are no longer all remembered."""


class Store:
    """All objects of a cluster. Any thread may use it.

    Args:
        path: the file, which is made if it is not there; nobody else may have it open.
        history: how many changes are remembered for those who watch.
    Raises:
        UserError: the file is none of ours, or is damaged.
        StorageError: it cannot be written.
    """

    def __init__(self, path: Path, history: int) -> None:
        self._path = path
        self._history = history
        self._lock = threading.RLock()
        self._memory = threading.Lock()
        self._listeners: dict[object, Callable[[], None]] = {}
        with storage_errors(path):
            # Its owner's alone: it holds secrets. What SQLite makes beside it is as this is.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        try:
            self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            try:
                self._open()
                self._load()
            except BaseException:
                self._database.close()
                raise
        except sqlite3.Error as error:
            raise _refusal(path, error) from error

    def _open(self) -> None:
        execute = self._database.execute
        (version,) = execute("PRAGMA user_version").fetchone()
        if version not in (0, _FORMAT):
            raise UserError(
                f"{self._path}: was written by another version; choose another --directory"
            )
        # Nobody else has the file, so the index of the WAL needs no file, whose disk could be full.
        execute("PRAGMA locking_mode = EXCLUSIVE")
        # An answer is given when the disk has the change: WAL with a sync at each commit.
        execute("PRAGMA journal_mode = WAL")
        execute("PRAGMA synchronous = FULL")
        with self._committed():
            for statement in _SCHEMA.split(";"):
                execute(statement)
            execute(f"PRAGMA user_version = {_FORMAT}")

    def _load(self) -> None:
        execute = self._database.execute
        self._objects: dict[str, dict[Key, Stored]] = {}
        rows = execute("SELECT resource, namespace, name, revision, content FROM objects")
        for resource, namespace, name, revision, content in rows:
            key = Key(resource, namespace, name)
            self._objects.setdefault(resource, {})[key] = Stored(revision, content)
        rows = execute(
            "SELECT revision, resource, namespace, name, before, after FROM changes ORDER BY revision"
        )
        self._changes: deque[Change] = deque(
            Change(revision, Key(resource, namespace, name), before, after)
            for revision, resource, namespace, name, before, after in rows
        )
        self._revision = self._changes[-1].revision if self._changes else FIRST_REVISION
        self._forget()

    def close(self) -> None:
        """Leave the file. What was written stays."""
        with self._lock, suppress(sqlite3.Error):
            self._database.close()

    @property
    def revision(self) -> int:
        """The number of the latest change."""
        return self._revision

    @property
    def lock(self) -> threading.RLock:
        """Held by whoever reads and then writes what follows from it."""
        return self._lock

    def read(self, key: Key) -> Stored | None:
        """An object as it is now."""
        with self._memory:
            return self._objects.get(key.resource, {}).get(key)

    def snapshot(
        self, resource: str, revision: int | None = None
    ) -> tuple[int, Mapping[Key, Stored]]:
        """All objects of a resource, now or as they were after an earlier change.

        Returns:
            The revision that this is the state of, and the objects in the order of their keys.
        Raises:
            RevisionForgotten: the changes since are not all remembered.
        """
        with self._memory:
            found = dict(self._objects.get(resource, {}))
            now = self._revision
            later = [] if revision is None else self._after(revision)
        # Backwards, so that what was before the first change since is what stays.
        for change in reversed(later):
            if change.key.resource != resource:
                continue
            if change.before is None:
                found.pop(change.key, None)
            else:
                found[change.key] = Stored(0, change.before)
        return now if revision is None else revision, dict(sorted(found.items()))

    def changes_after(self, revision: int) -> list[Change]:
        """Every change after a revision, in order.

        Raises:
            RevisionForgotten: they are not all remembered.
        """
        with self._memory:
            return self._after(revision)

    def _after(self, revision: int) -> list[Change]:
        if revision < self._revision - len(self._changes):
            raise RevisionForgotten(revision)
        found: list[Change] = []
        for change in reversed(self._changes):
            if change.revision <= revision:
                break
            found.append(change)
        return found[::-1]

    def write(self, key: Key, encode: Callable[[int], bytes | None]) -> Stored | None:
        """Make, change or remove one object.

        Args:
            encode: gives the object's JSON, from the revision that it will have; None removes it.
        Raises:
            StorageError: the disk does not take it; nothing has changed.
        """
        with self._lock:
            revision = self._revision + 1
            before = self.read(key)
            after = encode(revision)
            change = Change(revision, key, before.content if before else None, after)
            try:
                with self._committed():
                    self._write(change)
            except sqlite3.Error as error:
                raise _refusal(self._path, error) from error
            stored = None if after is None else Stored(revision, after)
            with self._memory:
                self._revision = revision
                self._changes.append(change)
                self._forget()
                of_resource = self._objects.setdefault(key.resource, {})
                if stored is None:
                    of_resource.pop(key, None)
                else:
                    of_resource[key] = stored
                listeners = tuple(self._listeners.values())
        for listener in listeners:
            listener()
        return stored

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Have a function called after every change, by whoever has made it; it must return soon.

        Returns:
            What ends that.
        """
        token = object()
        with self._memory:
            self._listeners[token] = listener

        def end() -> None:
            with self._memory:
                self._listeners.pop(token, None)

        return end

    def _write(self, change: Change) -> None:
        execute = self._database.execute
        if change.after is None:
            execute(
                "DELETE FROM objects WHERE resource = ? AND namespace = ? AND name = ?", change.key
            )
        else:
            execute(
                "INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?)",
                (*change.key, change.revision, change.after),
            )
        execute(
            "INSERT INTO changes VALUES (?, ?, ?, ?, ?, ?)",
            (change.revision, *change.key, change.before, change.after),
        )
        # The latest change is never forgotten: it holds the revision.
        execute("DELETE FROM changes WHERE revision <= ?", (change.revision - self._history,))

    def _forget(self) -> None:
        while len(self._changes) > self._history:
            self._changes.popleft()

    @contextmanager
    def _committed(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._database.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                self._database.execute("ROLLBACK")
            raise


def _refusal(path: Path, error: sqlite3.Error) -> StorageError | UserError:
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith(("SQLITE_FULL", "SQLITE_IOERR")):
        return StorageError(
            f"{path}: cannot be written: {error}; make room: nothing of this request was kept, and what "
            "was acknowledged before is there"
        )
    if name in ("SQLITE_NOTADB", "SQLITE_CORRUPT"):
        return UserError(f"{path}: is damaged ({error}); choose another --directory")
    return StorageError(f"{path}: cannot be written: {error}; choose another --directory")
