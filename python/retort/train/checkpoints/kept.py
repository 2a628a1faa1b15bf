"""The checkpoints that a run has, as all its ranks see them: the first one looks and tells the others."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from retort.core.digest import JSON
from retort.core.errors import ConfigError, SealError, shown
from retort.core.seal import Sealed
from retort.train.checkpoints.progress_record import ProgressRecord
from retort.train.checkpoints.resume import (
    check_same_run,
    checkpoint_path,
    newest_checkpoint,
    set_aside,
    sound_checkpoint,
)
from retort.train.processes.world import World


@dataclass(frozen=True)
class Start:
    """What steps are made from: a sound checkpoint, or without a path the beginning."""

    path: Path | None
    progress: ProgressRecord


class KeptCheckpoints:
    """Every method is called by all ranks."""

    def __init__(
        self, run: Path, world: World, inputs: Mapping[str, str], config: Mapping[str, JSON]
    ) -> None:
        """
        Args:
            run: the run's directory.
            inputs, config: of the seals of its checkpoints; one that has others is of another run.
        """
        self._run, self._world = run, world
        self._inputs, self._config = inputs, config

    def newest(self, before: int | None = None) -> Start:
        """The newest one that is sound; see `newest_checkpoint`.

        Raises:
            ConfigError: it is of another run.
        """
        start = Start(None, ProgressRecord())
        found = newest_checkpoint(self._run, before) if self._world.is_main else None
        if found is not None:
            self._check_ours(found.sealed)
            start = Start(found.sealed.path, found.progress)
        return self._world.broadcast_object(start, "while a checkpoint was looked for")

    def fault(self, step: int) -> str | None:
        """Why the one after a step cannot be had, if it cannot; it is set aside then."""
        reason = self._fault(step) if self._world.is_main else None
        return self._world.broadcast_object(reason, "while the best checkpoint was verified")

    def _fault(self, step: int) -> str | None:
        try:
            self._check_ours(sound_checkpoint(self._run, step).sealed)
        except (SealError, ConfigError) as error:
            path = checkpoint_path(self._run, step)
            kept = f"; it is kept as {shown(set_aside(path))}" if os.path.lexists(path) else ""
            return f"{error}{kept}"
        return None

    def _check_ours(self, sealed: Sealed) -> None:
        check_same_run(sealed.manifest, self._inputs, self._config, sealed.path)
