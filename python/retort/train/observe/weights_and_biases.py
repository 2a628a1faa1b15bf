"""A run at Weights & Biases, only if the recipe names a project."""

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from retort.core.atomic import storage_errors
from retort.core.digest import JSON
from retort.core.errors import UserError
from retort.train.observe.observer import Observer
from retort.train.observe.scalars import evaluation_scalars, step_scalars, timing_scalars
from retort.train.observe.step import Step
from retort.train.observe.timings import Timing

_LOGIN_SECONDS = 30.0


class WeightsAndBiases(Observer):
    """Logs what TensorBoard gets, by the run's own number of steps.

    Steps that were lost with a killed process come again after the resume, with equal values.
    """

    def __init__(
        self,
        directory: Path,
        *,
        project: str,
        mode: Literal["online", "offline"],
        name: str,
        config: Mapping[str, JSON],
    ) -> None:
        """Begin a run there, or go on with the one that this run directory began.

        Args:
            directory: of the run; `wandb/` in it takes the library's files and the run's identity.
            name: what the run is called there.
            config: the resolved recipe.
        Raises:
            UserError: nobody is logged in, or the service cannot be reached.
            StorageError: the directory cannot be written.
        """
        import wandb

        identity = _identity(directory / "wandb" / "retort-run-id")
        settings = wandb.Settings(
            console="off",  # standard output and error are ours
            init_timeout=_LOGIN_SECONDS,
            login_timeout=_LOGIN_SECONDS,
        )
        try:
            self._run: Any = wandb.init(
                project=project,
                dir=directory,
                id=identity,
                name=name,
                config=dict(config),
                mode=mode,
                resume="allow",
                reinit="create_new",
                settings=settings,
            )
        except wandb.Error as error:
            raise UserError(
                f"logging.wandb_project {project!r}: {_one_line(error)}; log in with `wandb login`, "
                "or set logging.wandb_mode=offline"
            ) from error
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    def step(self, step: Step) -> None:
        """As `Observer.step`."""
        self._log(step.number, step_scalars(step))

    def timing(self, timing: Timing) -> None:
        """As `Observer.timing`."""
        self._log(timing.step, timing_scalars(timing))

    def evaluation(self, number: int, metrics: Mapping[str, float]) -> None:
        """As `Observer.evaluation`."""
        self._log(number, evaluation_scalars(metrics))

    def close(self) -> None:
        """Wait until all is sent, or written."""
        self._run.finish()

    def _log(self, number: int, values: Mapping[str, float]) -> None:
        self._run.log({"step": number, **values})


def _identity(file: Path) -> str:
    """What the run is known by there: drawn once, so that a copy of a path elsewhere is another."""
    with storage_errors(file):
        if not file.is_file():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(secrets.token_hex(8), encoding="ascii")
        return file.read_text(encoding="ascii").strip()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")
