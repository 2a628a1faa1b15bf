"""Runs in a directory that this machine reaches: whether they are finished, and how far they are."""

import json
from dataclasses import dataclass
from pathlib import Path

import yaml

from retort.core.digest import open_regular
from retort.core.errors import SealError, UserError, shown
from retort.core.seal import Sealed, verify

CHECKPOINT, CHECKPOINTS = "checkpoint", "checkpoints"
_RUN, _RECIPE, _METRICS, _PROGRESS = "run.json", "recipe.yaml", "metrics.jsonl", "progress.json"
_TAIL = 1 << 16
"""Bytes of the end of metrics.jsonl that hold its last line."""


@dataclass(frozen=True)
class Found:
    """A checkpoint every digest of which holds."""

    step: int
    sealed: Sealed


@dataclass(frozen=True)
class Newest:
    """What a run goes on from.

    Attributes:
        found: None for the beginning.
        skipped: why newer ones do not count, each in a sentence.
    """

    found: Found | None
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        steps: that it shall make; None where its recipe does not tell yet.
        loss: of the last step.
    """

    step: int
    steps: int | None
    loss: float | None


class RunDirectory:
    """The directory of a run, which may not be there yet. Nothing is written in it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def log(self) -> Path:
        """Beside it: what its pods have said."""
        return self.path.with_name(f"{self.path.name}.log")

    def finished(self) -> Sealed | None:
        """The sealed result of a finished run; None while there is none.

        Raises:
            SealError: it is finished, and its result is altered.
        """
        if not (self.path / _RUN).is_file():
            return None
        return verify(self.path / CHECKPOINT, kind="checkpoint")

    def newest(self) -> Newest:
        """The newest checkpoint that verifies; the trainer also looks whether its numbers are finite."""
        folder = self.path / CHECKPOINTS
        skipped: list[str] = []
        paths = folder.glob("step-*") if folder.is_dir() else ()
        numbered = [(int(one.name[5:]), one) for one in paths if one.name[5:].isdigit()]
        for step, path in sorted(numbered, reverse=True):
            try:
                sealed = verify(path, kind="checkpoint")
                if json.loads(sealed.read(_PROGRESS))["step"] != step:
                    raise SealError(f"{shown(path)}: is not of step {step}")
                return Newest(Found(step, sealed), tuple(skipped))
            except (SealError, ValueError, KeyError, TypeError) as error:
                skipped.append(shown(error))
        return Newest(None, tuple(skipped))

    def progress(self) -> Progress | None:
        """By the last line of metrics.jsonl; None before the first step."""
        try:
            with open_regular(self.path / _METRICS) as file:
                file.seek(0, 2)
                file.seek(max(0, file.tell() - _TAIL))
                lines = file.read().split(b"\n")
        except OSError:
            return None
        for line in reversed(lines[:-1]):
            try:
                value = json.loads(line)
                return Progress(int(value["step"]), self._steps(), float(value["loss"]))
            except (ValueError, KeyError, TypeError):
                continue
        return None

    def _steps(self) -> int | None:
        try:
            recipe = yaml.safe_load((self.path / _RECIPE).read_text("utf-8"))
            return int(recipe["train"]["steps"])
        except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
            return None


def run_directory(runs: Path, name: str) -> RunDirectory:
    """That of a run in the directory of all runs, as pods have it at /runs.

    Raises:
        UserError: there is no such directory, so it can tell nothing.
    """
    if not runs.is_dir():
        raise UserError(
            f"--runs {shown(runs)}: is not a directory; give where this machine has what pods have at "
            "/runs, or leave it out"
        )
    return RunDirectory(runs / name)
