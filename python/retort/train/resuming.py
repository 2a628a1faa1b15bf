"""Which checkpoint a run goes on from, and which are kept."""

import logging
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from retort.core.atomic import storage_errors
from retort.core.config import differences
from retort.core.digest import JSON
from retort.core.errors import ConfigError, SealError
from retort.core.seal import MANIFEST, Manifest, Sealed, verify
from retort.models.checkpoint import KIND
from retort.train.engine import File
from retort.train.progress_record import ProgressRecord

_log = logging.getLogger(__name__)

CHECKPOINTS = "checkpoints"
PROGRESS = "progress.json"
_STEP = re.compile(r"step-(\d{8,})")
_REMOVING = "removing"


@dataclass(frozen=True)
class Found:
    """A checkpoint that verifies, and how far it had come."""

    sealed: Sealed
    progress: ProgressRecord


def checkpoint_path(run: Path, step: int) -> Path:
    """Where the checkpoint after `step` steps lies."""
    return run / CHECKPOINTS / f"step-{step:08}"


def newest_checkpoint(run: Path) -> Found | None:
    """The newest checkpoint of a run that verifies; says which it skipped and why.

    Those it skips are set aside for a person to look at: the run comes to their steps again, and
    only what is sealed is ever replaced.

    Raises:
        StorageError: permission to set one aside is missing.
    """
    for step, path in sorted(_numbered(run), reverse=True):
        try:
            sealed = verify(path, kind=KIND)
            progress = ProgressRecord.from_bytes(sealed.read(PROGRESS))
            if progress.step != step:
                raise SealError(f"{path}: is of step {progress.step}")
        except SealError as error:
            _log.warning("skipped a checkpoint: %s; it is kept as %s", error, _set_aside(path))
            continue
        return Found(sealed, progress)
    return None


def check_same_run(
    manifest: Manifest, inputs: Mapping[str, str], config: Mapping[str, JSON], where: Path
) -> None:
    """Refuse a checkpoint of another recipe, model or data.

    Raises:
        ConfigError: it names every field that differs.
    """
    found = [
        *differences({"inputs": dict(manifest.inputs)}, {"inputs": dict(inputs)}),
        *differences(dict(manifest.config), dict(config)),
    ]
    if found:
        raise ConfigError(
            f"{where}: belongs to another run: {'; '.join(found)}; "
            "choose another --out, or add --overwrite to start this one anew"
        )


class TensorReader:
    """Reads whole tensors of a verified checkpoint by name, one at a time, from memory maps."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._files: dict[File, Any] = {}

    def __call__(self, file: File, name: str) -> Tensor:
        """
        Raises:
            SealError: the file has no such tensor.
        """
        path = self._path / f"{file}.safetensors"
        try:
            if file not in self._files:
                self._files[file] = safe_open(path, framework="pt")
            tensor: Tensor = self._files[file].get_tensor(name)
        except (OSError, SafetensorError) as error:
            raise SealError(f"{path}: cannot be resumed from: {error}") from error
        return tensor


def remove_superseded(run: Path, keep_last: int, best: Sequence[int]) -> None:
    """Remove the checkpoints that newer ones supersede, and only those.

    The newest `keep_last` and those after the steps `best` stay. What has no manifest was not
    written by us, or is damaged, and is left to a person.
    """
    sealed = sorted((step, path) for step, path in _numbered(run) if (path / MANIFEST).is_file())
    for step, path in sealed[:-keep_last]:
        if step not in best:
            # Out of sight first, so that a kill leaves nothing that looks like a checkpoint.
            aside = path.with_name(f".{path.name}.{_REMOVING}-{secrets.token_hex(4)}")
            path.rename(aside)
            shutil.rmtree(aside, ignore_errors=True)


def remove_leftovers(run: Path) -> None:
    """Remove what a killed run was about to write or to remove."""
    folder = run / CHECKPOINTS
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.name.startswith(".step-"):
            shutil.rmtree(path, ignore_errors=True)


def _set_aside(path: Path) -> Path:
    aside = path.with_name(f"{path.name}.damaged-{secrets.token_hex(4)}")
    with storage_errors(path):
        path.rename(aside)
    return aside


def _numbered(run: Path) -> Iterator[tuple[int, Path]]:
    folder = run / CHECKPOINTS
    for path in folder.iterdir() if folder.is_dir() else ():
        if match := _STEP.fullmatch(path.name):
            yield int(match[1]), path
