"""How a worker ends badly, written where the process that started it looks.

The file is torch's error file, with our own fields beside those of torch, so that a torchrun typed
by hand shows the failure as well
(https://docs.pytorch.org/docs/stable/elastic/errors.html).
"""

import json
import os
import struct
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from retort.core.errors import RetortError, UserError, one_line
from retort.train.processes.environment import error_file, rank_name
from retort.train.processes.rendezvous import RankMissing
from retort.train.processes.world import PeerLost

_STEP = struct.Struct("<q")


@dataclass(frozen=True)
class Failure:
    """What a worker wrote before it ended.

    Attributes:
        text: one line for an error that we foresaw, a traceback for a bug.
        lost_peer: whether it only noticed that another rank was lost.
        time: seconds since 1970.
    """

    text: str
    foreseen: bool
    lost_peer: bool
    exit_code: int
    time: float

    @property
    def is_mistake(self) -> bool:
        """Whether the user made a mistake, so that the same again would fail again."""
        return self.exit_code == UserError.exit_code and not self.lost_peer


class StepMark:
    """The step that a worker is in, kept in a file that outlives it however it dies.

    Attributes:
        step: None before the first one.
    """

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor
        self.step: int | None = None

    def at(self, step: int) -> None:
        """Say which step begins."""
        self.step = step
        if self._descriptor is not None:
            os.pwrite(self._descriptor, _STEP.pack(step), 0)


@contextmanager
def recorded(environment: Mapping[str, str]) -> Iterator[StepMark]:
    """Leave a failure inside in the agent's error file instead of on standard error.

    Without an agent that asks for one, an exception goes on with a note of rank and step, which its
    traceback shows. A request to stop is no failure.

    Raises:
        SystemExit: in place of an exception that was recorded, with its exit code.
    """
    path = error_file(environment)
    if path is None:
        mark = StepMark(None)
        try:
            yield mark
        except Exception as error:
            error.add_note(f"in {rank_name(environment)}, step {mark.step}")
            raise
        return
    descriptor = os.open(_step_file(path), os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        yield StepMark(descriptor)
    except BrokenPipeError:
        raise
    except Exception as error:
        _write(path, error)
        raise SystemExit(error.exit_code if isinstance(error, RetortError) else 1) from None
    finally:
        os.close(descriptor)


def read_failure(path: Path) -> Failure | None:
    """What the worker with this error file recorded, if it could."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return Failure(**record["retort"]) if "retort" in record else None


def read_step(path: Path) -> int | None:
    """The last step that the worker with this error file began."""
    try:
        content = _step_file(path).read_bytes()
    except OSError:
        return None
    return int(_STEP.unpack(content)[0]) if len(content) == _STEP.size else None


def _step_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.step")


def _write(path: Path, error: Exception) -> None:
    foreseen, now = isinstance(error, RetortError), time.time()
    text = one_line(str(error)) if foreseen else _traceback(error)
    record = {
        "message": {
            "message": f"{type(error).__name__}: {error}",
            "extraInfo": {"py_callstack": text, "timestamp": str(int(now))},
        },
        "retort": {
            "text": text,
            "foreseen": foreseen,
            "lost_peer": isinstance(error, PeerLost | RankMissing),
            "exit_code": error.exit_code if isinstance(error, RetortError) else 1,
            "time": now,
        },
    }
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(json.dumps(record), encoding="utf-8")
    partial.replace(path)


def _traceback(error: Exception) -> str:
    below = error.__traceback__.tb_next if error.__traceback__ is not None else None
    return "".join(traceback.format_exception(error.with_traceback(below))).rstrip()
