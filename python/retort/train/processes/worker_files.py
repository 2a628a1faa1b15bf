"""Where each worker's output goes, and what a failed start is told as."""

import logging
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch.distributed.elastic.multiprocessing import LogsDest, LogsSpecs
from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

from retort.core.errors import UserError
from retort.core.signals import SIGNALS
from retort.train.processes.failures import Failure, read_failure, read_step
from retort.train.processes.launch import WORKER_VARIABLES

_log = logging.getLogger(__name__)

_STDERR_LINES = 20
_STOPPED = tuple(128 + number for number in SIGNALS)
# When one worker has failed the agent asks the others to end, and kills those who have not after
# 30 seconds: what they end with then is no cause.
_ASKED_TO_END = (*_STOPPED, *(-number for number in SIGNALS))
_HUNG_S = 25


@dataclass(frozen=True)
class _Rank:
    """The files of one worker in one start."""

    number: int
    size: int
    directory: Path

    @property
    def error_file(self) -> Path:
        return self.directory / "error.json"

    @property
    def stderr(self) -> Path:
        return self.directory / "stderr"

    def __str__(self) -> str:
        return f"rank {self.number} of {self.size}"

    def where(self) -> str:
        step = read_step(self.error_file)
        return "before the first step" if step is None else f"in step {step}"


class RankFiles(LogsSpecs):
    """Only rank 0 speaks; what other ranks say on standard error is kept for the case they crash.

    torch's agent asks it for the files of every start of its workers, the first and those after a
    failure or a change of nodes.

    Attributes:
        starts: how many there have been.
    """

    def __init__(self, root: Path) -> None:
        super().__init__()
        self._root = root
        self.starts = 0
        self._ranks: dict[int, _Rank] = {}

    @property
    def root_log_dir(self) -> str:
        """Below it lies everything; the caller removes it."""
        return str(self._root)

    def reify(self, envs: dict[int, dict[str, str]]) -> LogsDest:
        """Lay out a start of workers, whose variables are given by local rank.

        Raises:
            UserError: the start before failed by a mistake that no further start mends.
        """
        failed = self._worst([])
        if failed is not None and failed[1] is not None and failed[1].is_mistake:
            raise UserError(_tell_failure(failed[0], failed[1]))
        self.starts += 1
        ranks: dict[int, _Rank] = {}
        files = LogsDest()
        for local, variables in envs.items():
            number, size = int(variables["RANK"]), int(variables["WORLD_SIZE"])
            rank = _Rank(number, size, self._root / f"start-{self.starts}" / f"rank-{number}")
            rank.directory.mkdir(parents=True)
            variables.update(WORKER_VARIABLES)
            variables["TORCHELASTIC_ERROR_FILE"] = str(rank.error_file)
            files.error_files[local] = str(rank.error_file)
            files.stdouts[local] = "" if number == 0 else os.devnull
            files.stderrs[local] = "" if number == 0 else str(rank.stderr)
            ranks[number] = rank
        self._ranks = ranks
        self._tell(failed)
        return files

    def failure(self, ended: Mapping[int, ProcessFailure]) -> tuple[int, str]:
        """What to end with, and what to say, after the last start failed.

        Args:
            ended: the ranks that failed here, as the agent saw them.
        Returns:
            The exit code, and the text that tells the first cause.
        """
        stopped = [end.exitcode for end in ended.values() if end.exitcode in _STOPPED]
        if stopped and len(stopped) == len(ended):
            return stopped[0], "stopped: a worker was asked to"
        first = min(end.timestamp for end in ended.values())
        hung = [
            number
            for number, end in ended.items()
            if end.exitcode == -signal.SIGKILL and end.timestamp - first >= _HUNG_S
        ]
        silent = [
            number
            for number, end in ended.items()
            if number not in hung and end.exitcode not in _ASKED_TO_END
        ]
        rank, failure = self._worst(silent) or (self._ranks[min(ended)], None)
        code = ended[rank.number].exitcode if rank.number in ended else 1
        if failure is not None:
            code, text = failure.exit_code, f"error: {_tell_failure(rank, failure)}"
        elif code < 0:
            code, text = 128 - code, _tell_killed(rank, -code)
        else:
            text = f"error: {rank} ended with exit code {code}, {rank.where()}{_tail(rank)}"
        return code, "\n".join([text, *(_tell_hung(self._ranks[number]) for number in hung)])

    def lost_peer(self) -> tuple[str, bool] | None:
        """What to say, if the first failure of this start is that of a rank which lost another; and
        whether no worker here is left that has not failed."""
        recorded = [read_failure(rank.error_file) for rank in self._ranks.values()]
        worst = self._worst([])
        if worst is None or worst[1] is None or not worst[1].lost_peer:
            return None
        return f"error: {_tell_failure(worst[0], worst[1])}", None not in recorded

    def _worst(self, silent: Sequence[int]) -> tuple[_Rank, Failure | None] | None:
        """The rank that failed first of itself: one that merely lost another comes last.

        Args:
            silent: ranks that ended of themselves; those of them without a record were killed.
        """
        recorded = {
            number: failure
            for number, rank in self._ranks.items()
            if (failure := read_failure(rank.error_file)) is not None
        }
        by_time = sorted(recorded, key=lambda number: recorded[number].time)
        own = [number for number in by_time if not recorded[number].lost_peer]
        unknown = [number for number in silent if number not in recorded]
        for number in (*own, *unknown, *by_time):
            return self._ranks[number], recorded.get(number)
        return None

    def _tell(self, failed: tuple[_Rank, Failure | None] | None) -> None:
        numbers = sorted(self._ranks)
        here = f"{numbers[0]} to {numbers[-1]}" if len(numbers) > 1 else str(numbers[0])
        size = self._ranks[numbers[0]].size
        if self.starts > 1:
            if failed is not None and failed[1] is not None:
                _log.warning("error: %s", _tell_failure(failed[0], failed[1]))
            _log.warning("starting again, with %d processes in all; rank %s here", size, here)
        elif 0 not in numbers:
            _log.info("rank %s of %d here; rank 0, which speaks, is on another node", here, size)


def _tell_failure(rank: _Rank, failure: Failure) -> str:
    if failure.foreseen:
        place = "" if failure.lost_peer else f"{rank}, {rank.where()}: "
        return f"{place}{failure.text}"
    return f"{rank} failed {rank.where()}:\n{failure.text}"


def _tell_killed(rank: _Rank, number: int) -> str:
    name = signal.Signals(number).name
    # Of SIGKILL it knew nothing: what it said last does not say why.
    kernel = "; the kernel does that when memory runs out"
    why = kernel if number == signal.SIGKILL else _tail(rank)
    return f"error: {rank} was killed by {name} {rank.where()}{why}"


def _tell_hung(rank: _Rank) -> str:
    return f"{rank} hung {rank.where()}: asked to end, it did not, and was killed{_tail(rank)}"


def _tail(rank: _Rank) -> str:
    """The last lines of a worker's standard error, which nobody has seen yet; rank 0's has been."""
    try:
        lines = rank.stderr.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return ""
    if not lines:
        return ""
    return "\n".join(["; its last words:", *lines[-_STDERR_LINES:]])
