"""Logs of containers: where they lie, and how they are read.

Whoever runs a container appends what it writes to `log_file`, each line as container runtimes
write it (https://kubernetes.io/docs/concepts/cluster-administration/logging/, CRI logging format):

    2026-01-31T12:00:00.000000000Z stdout F the line

`F` is a whole line; `P` the beginning of one, of which the next record is the rest. A container that
is started again has a file of its own, with the next number.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO

from retort.launch.cluster.kinds.errors import JSONObject, bad_request

_ENDED = ("Succeeded", "Failed")


@dataclass(frozen=True)
class LogOptions:
    """Which part of a log is wanted.

    Attributes:
        tail: at most so many of the last lines; None for all.
        since: only what was written after this time.
        most_bytes: at most so many; None for all.
        timestamps: whether each line begins with its time.
        previous: of the container's run before the present one.
        follow: whether to go on until the container has ended.
    """

    tail: int | None = None
    since: datetime | None = None
    most_bytes: int | None = None
    timestamps: bool = False
    previous: bool = False
    follow: bool = False


def log_file(root: Path, pod: JSONObject, container: str, restart: int) -> Path:
    """Where a container's log is, by how often it was started again before (0 at first)."""
    metadata = pod["metadata"]
    name = f"{metadata['namespace']}_{metadata['name']}_{metadata['uid']}"
    return root / name / container / f"{restart}.log"


def container_of(pod: JSONObject, wanted: str) -> str:
    """The container that is meant: the one that is named, or the only one.

    Raises:
        ApiError: there is none of that name, or there are several (400).
    """
    spec, name = pod.get("spec") or {}, pod["metadata"]["name"]
    first = [one["name"] for one in spec.get("initContainers") or ()]
    names = [one["name"] for one in spec.get("containers") or ()]
    if wanted:
        if wanted not in (*first, *names):
            raise bad_request(f"container {wanted} is not valid for pod {name}")
        return wanted
    if len(names) == 1 and not first:
        return str(names[0])
    listed = f"choose one of: [{' '.join(names)}]"
    if first:
        listed += f" or one of the init containers: [{' '.join(first)}]"
    raise bad_request(f"a container name must be specified for pod {name}, {listed}")


def current_file(root: Path, pod: JSONObject, container: str, previous: bool) -> Path:
    """The log of a container's present run, or of the one before.

    Raises:
        ApiError: there is none (400).
    """
    folder = log_file(root, pod, container, 0).parent
    numbers = sorted(int(one.stem) for one in folder.glob("*.log") if one.stem.isdigit())
    name = pod["metadata"]["name"]
    if previous:
        if len(numbers) < 2:
            raise bad_request(
                f'previous terminated container "{container}" in pod "{name}" not found'
            )
        return folder / f"{numbers[-2]}.log"
    if not numbers:
        raise bad_request(
            f'container "{container}" in pod "{name}" is waiting to start: {_waiting(pod, container)}'
        )
    return folder / f"{numbers[-1]}.log"


def has_ended(pod: JSONObject | None, container: str) -> bool:
    """Whether a container writes no more."""
    if pod is None:
        return True
    status = pod.get("status") or {}
    for listed in ("containerStatuses", "initContainerStatuses"):
        for one in status.get(listed) or ():
            if one.get("name") == container:
                return "terminated" in (one.get("state") or {})
    return status.get("phase") in _ENDED


def since(seconds: int | None, time: str) -> datetime | None:
    """The time after which lines are wanted.

    Raises:
        ApiError: it is no time (400).
    """
    if seconds is not None:
        return datetime.now(UTC) - timedelta(seconds=seconds)
    if not time:
        return None
    try:
        return datetime.fromisoformat(time)
    except ValueError as error:
        raise bad_request(f"sinceTime: {time!r} is not a time of RFC 3339") from error


class LogReader:
    """A log from its beginning to where it has come, and on from there.

    Attributes:
        options: which part of it is wanted.
    """

    def __init__(self, path: Path, options: LogOptions) -> None:
        self.options = options
        self._path = path
        self._file: IO[bytes] | None = None
        self._offset = 0
        self._left = options.most_bytes
        self._begins_line = True

    @property
    def is_full(self) -> bool:
        """Whether as much was read as is wanted."""
        return self._left == 0

    def read(self) -> bytes:
        """What has been written since it was called last.

        The file stays open until `close`: its end can be read though it was removed with its pod.
        """
        if self._file is None:
            try:
                self._file = self._path.open("rb")
            except FileNotFoundError:
                return b""
        self._file.seek(self._offset)
        content = self._file.read()
        # A record that is being written is left for the next time.
        whole = content[: content.rfind(b"\n") + 1]
        first, self._offset = self._offset == 0, self._offset + len(whole)
        records = list(self._records(whole))
        if first and self.options.tail is not None:
            records = _last_lines(records, self.options.tail)
        text = b"".join(piece for piece, _ in records)
        if self._left is not None:
            text = text[: self._left]
            self._left -= len(text)
        return text

    def close(self) -> None:
        """Read no more."""
        if self._file is not None:
            self._file.close()

    def _records(self, content: bytes) -> Iterator[tuple[bytes, bool]]:
        """What each record adds to the text, and whether a line ends there."""
        for line in content.splitlines(keepends=True):
            time, _, rest = line.partition(b" ")
            _, _, rest = rest.partition(b" ")
            tag, _, message = rest.partition(b" ")
            if self.options.since is not None and not _is_after(time, self.options.since):
                continue
            ends = tag.split(b":")[0] != b"P"
            piece = message if ends else message[:-1]
            if self.options.timestamps and self._begins_line:
                piece = time + b" " + piece
            self._begins_line = ends
            yield piece, ends


def _last_lines(records: list[tuple[bytes, bool]], most: int) -> list[tuple[bytes, bool]]:
    lines = 0
    for number in range(len(records), 0, -1):
        if records[number - 1][1]:
            lines += 1
            if lines > most:
                return records[number:]
    return records


def _is_after(time: bytes, start: datetime) -> bool:
    try:
        # Python knows no nanoseconds.
        text = time.decode()
        seconds, _, fraction = text.rstrip("Z").partition(".")
        return datetime.fromisoformat(f"{seconds}.{fraction[:6]:0<6}+00:00") >= start
    except (ValueError, UnicodeDecodeError):
        return True


def _waiting(pod: JSONObject, container: str) -> str:
    for one in (pod.get("status") or {}).get("containerStatuses") or ():
        if one.get("name") == container:
            waiting = (one.get("state") or {}).get("waiting") or {}
            return str(waiting.get("reason", "ContainerCreating"))
    return "ContainerCreating"
