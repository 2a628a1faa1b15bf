"""The directory of a run: begun, gone on with, finished, or somebody else's."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from retort.core.atomic import storage_errors
from retort.core.config import differences, load_recipe, to_yaml
from retort.core.errors import ConfigError, StorageError
from retort.core.locks import take_lock
from retort.train.recipe import TrainingRecipe, decisive

RECIPE = "recipe.yaml"
RUN = "run.json"
CHECKPOINT = "checkpoint"
REPORT = "report.html"
CARD = "README.md"
_LOCK = ".lock"


@contextmanager
def claimed(run: Path) -> Iterator[None]:
    """Make the directory, or go on in it, and let no other process train there meanwhile.

    Raises:
        StorageError: it is finished, in use, something else than a run, or cannot be written.
    """
    check_usable(run)
    with storage_errors(run):
        run.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = take_lock(run / _LOCK, make=True)
        except BlockingIOError as error:
            raise StorageError(
                f"{run}: another process is training there; wait for it, or choose another --out"
            ) from error
    try:
        yield
    finally:
        os.close(descriptor)


def check_usable(run: Path) -> None:
    """Refuse a directory that is no run, or a finished one.

    Raises:
        StorageError
    """
    if run.is_symlink() or (run.exists() and not run.is_dir()):
        raise StorageError(f"{run}: is not a directory; remove it or choose another --out")
    if (run / RUN).is_file():
        raise StorageError(f"{run}: holds a run already; add --overwrite or choose another --out")
    if run.is_dir() and not _is_run(run):
        raise StorageError(f"{run}: holds something else than a run; choose another --out")


def clear(run: Path) -> None:
    """Remove a run, finished or not, to begin anew; what is no run is never removed.

    Raises:
        StorageError: it is something else than a run, or a process is training there.
    """
    if not run.exists():
        return
    if run.is_dir() and not run.is_symlink() and _is_run(run):
        (run / RUN).unlink(missing_ok=True)
        with claimed(run), storage_errors(run):
            shutil.rmtree(run)
    else:
        check_usable(run)


def begun_with(run: Path) -> TrainingRecipe | None:
    """The recipe of the run that a directory holds; None before it has one.

    Raises:
        ConfigError: it cannot be read.
    """
    file = run / RECIPE
    if not file.is_file():
        return None
    try:
        return load_recipe(TrainingRecipe, file, [], run).config
    except ConfigError as error:
        raise ConfigError(
            f"{file}: cannot be read as the recipe of this run; choose another --out, or add "
            "--overwrite to start anew"
        ) from error


def write_recipe(run: Path, recipe: TrainingRecipe) -> None:
    """Write the resolved recipe, or find that it is the one that the run began with.

    Raises:
        ConfigError: it is another one; every key that differs is named.
    """
    file, before = run / RECIPE, begun_with(run)
    if before is not None and (found := "; ".join(differences(decisive(before), decisive(recipe)))):
        raise ConfigError(
            f"{run}: holds an unfinished run of another recipe: {found}; choose another --out, "
            "or add --overwrite to start anew"
        )
    with storage_errors(run):
        partial = file.with_suffix(".partial")
        partial.write_text(to_yaml(recipe), encoding="utf-8")
        partial.replace(file)


def _is_run(run: Path) -> bool:
    """Ours, or empty: a run that was killed at once has but its lock."""
    names = set(os.listdir(run)) - {_LOCK}
    return not names or RECIPE in names or f"{RECIPE.removesuffix('.yaml')}.partial" in names
