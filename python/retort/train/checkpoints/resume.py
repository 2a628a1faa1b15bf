"""Which checkpoint a run goes on from, and which are kept."""

import logging
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from retort.core.atomic import storage_errors
from retort.core.config import differences
from retort.core.digest import JSON
from retort.core.errors import ConfigError, SealError, shown
from retort.core.seal import MANIFEST, Manifest, Sealed, verify
from retort.models.checkpoint import not_finite, stored_weights
from retort.models.description import KIND
from retort.train.checkpoints.progress_record import ProgressRecord
from retort.train.engines.engine import File

_log = logging.getLogger(__name__)

CHECKPOINTS = "checkpoints"
PROGRESS = "progress.json"
_STEP = re.compile(r"step-(\d{8,})")
_REMOVING = "removing"
_TENSORS = ".safetensors"


Read = Callable[[File, str], Tensor]
"""Gives a whole tensor of a file of a checkpoint by its name."""


@dataclass(frozen=True)
class Found:
    """A checkpoint that verifies, and how far it had come."""

    sealed: Sealed
    progress: ProgressRecord


def checkpoint_path(run: Path, step: int) -> Path:
    """Where the checkpoint after `step` steps lies."""
    return run / CHECKPOINTS / f"step-{step:08}"


def newest_checkpoint(run: Path, before: int | None = None) -> Found | None:
    """The newest checkpoint of a run that is sound; says which it skipped and why.

    Those it skips are set aside for a person to look at: the run comes to their steps again, and
    only what is sealed is ever replaced.

    Args:
        before: the step that it must be before, if it matters.
    Raises:
        StorageError: permission to set one aside is missing.
    """
    for step, path in sorted(_numbered(run), reverse=True):
        if before is not None and step >= before:
            continue
        try:
            return sound_checkpoint(run, step)
        except SealError as error:
            _log.warning("skipped a checkpoint: %s; it is kept as %s", error, set_aside(path))
    return None


def sound_checkpoint(run: Path, step: int) -> Found:
    """The checkpoint after a step, if every digest of it holds and every number of it is finite.

    Raises:
        SealError: there is none, or it is not sound; the file is named.
    """
    path = checkpoint_path(run, step)
    sealed = verify(path, kind=KIND)
    progress = ProgressRecord.from_bytes(sealed.read(PROGRESS))
    if progress.step != step:
        raise SealError(f"{path}: is of step {progress.step}")
    for file in sealed.manifest.files:
        if file.path.endswith(_TENSORS):
            _check_finite(path / file.path)
    return Found(sealed, progress)


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
            f"{where}: belongs to another run: {'; '.join(map(shown, found))}; "
            "choose another --out, or add --overwrite to start this one anew"
        )


class Beginning:
    """Reads the state that a run begins from: a model before its first step, and moments of zero."""

    def __init__(self, model: nn.Module) -> None:
        self._weights = stored_weights(model)

    def __call__(self, file: File, name: str) -> Tensor:
        """A whole tensor by its name, float32, on the CPU."""
        if file == "model":
            return self._weights[name]
        _moment, _, weight = name.partition(".")
        return self._weights[weight].new_zeros(self._weights[weight].shape)


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
        path = self._path / f"{file}{_TENSORS}"
        try:
            if file not in self._files:
                self._files[file] = safe_open(path, framework="pt")
            tensor: Tensor = self._files[file].get_tensor(name)
        except (OSError, SafetensorError) as error:
            raise SealError(f"{path}: cannot be resumed from: {error}") from error
        return tensor


def remove_superseded(
    run: Path, keep_last: int, best: Sequence[int], newest: int | None = None
) -> None:
    """Remove the checkpoints that newer ones supersede, and only those.

    The newest `keep_last` and those after the steps `best` stay. What has no manifest was not
    written by us, or is damaged, and is left to a person.

    Args:
        newest: the step up to which checkpoints are counted and removed: there are later ones while
            steps before them are made again.
    """
    sealed = sorted(
        (step, path)
        for step, path in _numbered(run)
        if (newest is None or step <= newest) and (path / MANIFEST).is_file()
    )
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


def set_aside(path: Path) -> Path:
    """Rename a checkpoint that is not sound, so that nothing takes it for one.

    Returns:
        Where it is now.
    Raises:
        StorageError: permission is missing.
    """
    aside = path.with_name(f"{path.name}.damaged-{secrets.token_hex(4)}")
    with storage_errors(path):
        path.rename(aside)
    return aside


def _check_finite(path: Path) -> None:
    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            wrong = not_finite((name, file.get_tensor(name)) for name in names)
    except (OSError, SafetensorError) as error:
        raise SealError(f"{path}: cannot be read: {shown(error)}") from error
    if wrong is not None:
        raise SealError(f"{path}: {shown(wrong)} is not finite")


def _numbered(run: Path) -> Iterator[tuple[int, Path]]:
    folder = run / CHECKPOINTS
    for path in folder.iterdir() if folder.is_dir() else ():
        if match := _STEP.fullmatch(path.name):
            yield int(match[1]), path
