"""The training loop."""

import dataclasses
from dataclasses import dataclass

from torch import Tensor

from retort.core.errors import VerificationError
from retort.evaluate.report.run_facts import Evaluation
from retort.train.checkpoints.policy import CheckpointPolicy
from retort.train.checkpoints.progress_record import ProgressRecord
from retort.train.engines.engine import Engine
from retort.train.observe.metrics_file import with_line
from retort.train.observe.observer import Observer
from retort.train.observe.step import Step
from retort.train.observe.timings import Timekeeper
from retort.train.processes.failures import StepMark
from retort.train.processes.world import World
from retort.train.recipe import TrainingRecipe
from retort.train.run.divergence import DivergenceGuard, stopped_after
from retort.train.run.schedule import learning_rate
from retort.train.tasks.evaluation import held_out_results
from retort.train.tasks.task import Task
from retort.train.timing.phases import PhaseClock


@dataclass(frozen=True)
class Parts:
    """What the loop joins; see each of them."""

    recipe: TrainingRecipe
    task: Task
    engine: Engine
    world: World
    guard: DivergenceGuard
    policy: CheckpointPolicy
    observer: Observer
    clock: PhaseClock
    timekeeper: Timekeeper
    mark: StepMark


@dataclass(frozen=True)
class Finished:
    """The end of a training.

    Attributes:
        results: of the held-out documents after the last step, if that was made just now.
    """

    progress: ProgressRecord
    results: Tensor | None


def train(parts: Parts, progress: ProgressRecord, until: int | None = None) -> Finished:
    """Train from `progress` to the end of the recipe, or until it stops early.

    Every step is a function of weights, moments and its own number: its documents, dropout and
    learning rate follow from these. So it makes no difference where a run was interrupted.

    Args:
        until: the step to end after, before the recipe's end.
    Raises:
        TrainingStopped: a loss or norm is not finite, or a spike; or what is to be kept of the model
            is not finite, or its results.
        KeyboardInterrupt, Terminated: somebody asked to stop; a checkpoint is sealed.
    """
    recipe, clock, observer = parts.recipe, parts.clock, parts.observer
    total = recipe.train.steps
    results = None
    parts.engine.model.train()
    while progress.step != until and not _done(progress, recipe):
        number = progress.step
        parts.mark.at(number + 1)
        lr = learning_rate(recipe.schedule, recipe.optimizer.lr, number, total)
        with clock.phase("compute"), parts.world.together(f"in step {number + 1}"):
            outcome = parts.engine.step(number, lr)
        step = Step(
            number=number + 1,
            loss=sum(outcome.losses),
            losses=outcome.losses,
            lr=lr,
            gradient_norm=outcome.gradient_norm,
            samples=recipe.train.batch,
            tokens=parts.task.seen(number),
        )
        parts.guard.judge(step)
        progress = dataclasses.replace(
            progress,
            step=step.number,
            losses=tuple(parts.guard.state()),
            metrics=with_line(progress.metrics, step),
        )
        observer.step(step)

        results, every = None, recipe.evaluate.every
        try:
            if step.number == total or (every is not None and step.number % every == 0):
                with clock.phase("evaluation"):
                    results = held_out_results(parts.task, parts.engine.model, parts.world)
                    figures = parts.task.held_out.measure(results).figures()
                if every is not None:
                    progress = progress.with_evaluation(Evaluation(step.number, figures))
                    observer.evaluation(step.number, figures)
            with clock.phase("checkpoint"):
                parts.policy.after(progress, done=_done(progress, recipe))
        except VerificationError as error:
            raise stopped_after(step, f"after it, {error}") from error
        timing = parts.timekeeper.after(step)
        if timing is not None:
            observer.timing(timing)
    rest = parts.timekeeper.rest()
    if rest is not None:
        observer.timing(rest)
    return Finished(progress, results)


def _done(progress: ProgressRecord, recipe: TrainingRecipe) -> bool:
    return progress.step >= recipe.train.steps or progress.should_stop(recipe.evaluate)
