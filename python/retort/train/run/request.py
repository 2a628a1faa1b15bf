"""What was typed: a recipe, where its run goes, and what is said at the end."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from retort.core.cli import Invocation
from retort.core.config import Recipe, find_recipe, load_recipe
from retort.train.recipe import TrainingRecipe, recipes


@dataclass(frozen=True)
class Request:
    """What was asked for.

    Attributes:
        out: the run's directory.
        next_commands: what to try when it is done.
        join_timeout_s: how long to wait for the other processes.
        collective_s: how long to wait for them in a step.
        metrics_port: where Prometheus reads a machine's figures, if anywhere.
        share_gpus: whether processes may have a GPU together.
        published: the seal that the run comes to on every processor, if there is one.
    """

    config: str
    overrides: Sequence[str]
    out: Path
    next_commands: str
    as_json: bool
    join_timeout_s: float
    collective_s: float
    metrics_port: int | None = None
    share_gpus: bool = False
    published: str | None = None


def load(request: Request, invocation: Invocation) -> Recipe[TrainingRecipe]:
    """The recipe that was asked for.

    Raises:
        UserError: it is not usable.
    """
    here = invocation.working_directory
    source = find_recipe(recipes(), request.config, here)
    return load_recipe(TrainingRecipe, source, request.overrides, here)


def typed(path: Path, invocation: Invocation) -> str:
    """A path as one would type it where the user is."""
    here = invocation.working_directory
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
