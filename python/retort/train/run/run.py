"""A whole training run: tokens, weights, training, checkpoint, verification, report.

The run's directory, in which a run that was interrupted goes on:

    recipe.yaml          the resolved configuration
    tokens/              sealed: the token store, unless the recipe names one that is there
    checkpoints/         sealed: step-00000100/ and so on, each as good as the one at the end, with
                         the optimiser's moments and how far the run had come
    metrics.jsonl        one line for each optimiser step
    timings.jsonl        how fast it was, and where the time went
    tensorboard/         the same for TensorBoard
    checkpoint/          sealed: weights, tokenizer, labels
    checkpoint.seal      its seal
    logits.safetensors   of the held-out documents, by the trained model in memory (or losses)
    evaluation.json      what the verifying process measured
    report.html          for people, and README.md for a hub: a model card
    timings.html         the time of it, for people
    run.json             wall-clock times, machine, versions: what no seal may hold
"""

import dataclasses
import logging
import time
from contextlib import ExitStack
from pathlib import Path

from retort.core.config import Recipe
from retort.train.checkpoints.resume import remove_leftovers
from retort.train.processes.failures import StepMark
from retort.train.processes.stop import stop_request
from retort.train.processes.world import World
from retort.train.recipe import TrainingRecipe
from retort.train.run.directory import claimed, write_recipe
from retort.train.run.inspection import refuse_stopped
from retort.train.run.source import SourceFacts
from retort.train.run.training import TrainingRun
from retort.train.run.verdict import RunResult, Trained, finish, judge

_log = logging.getLogger(__name__)


def run_recipe(
    recipe: Recipe[TrainingRecipe],
    run: Path,
    world: World,
    *,
    mark: StepMark,
    source: SourceFacts,
    metrics_port: int | None = None,
) -> RunResult | None:
    """Run a recipe in the directory `run`, or go on with it where it was interrupted.

    Args:
        metrics_port: where the first rank of each machine tells Prometheus its figures, if anywhere.
    Returns:
        The result; None on all ranks but the first.
    Raises:
        UserError: the recipe, its inputs or `run` are not usable.
        TrainingStopped: the loss was no number, or a spike; what caused it is in `stopped/`.
        VerificationError: the fresh process could not even read the checkpoint, or the best one was
            computed again and is another.
    """
    start = time.time()
    if not world.is_main:
        _train(recipe, run, world, mark, metrics_port)
        world.alone(lambda: None)  # which is `conclude` of the first rank, below
        return None
    with claimed(run):
        refuse_stopped(run)
        write_recipe(run, recipe.config)
        remove_leftovers(run)
        trained = _train(recipe, run, world, mark, metrics_port)
        results: list[RunResult] = []

        def conclude() -> None:
            _log.info("sealed the checkpoint; a fresh process verifies it")
            result = judge(recipe, run, trained, source)
            seconds = time.time() - start
            finish(run, recipe.name, world, start, seconds)
            results.append(dataclasses.replace(result, seconds=seconds))

        # All leave together: a cluster may take a run for done, and end what is left of it, when one
        # of its processes has ended well.
        world.alone(conclude)
    return results[0]


def _train(
    recipe: Recipe[TrainingRecipe],
    run: Path,
    world: World,
    mark: StepMark,
    metrics_port: int | None,
) -> Trained:
    """Everything that all ranks do together."""
    with ExitStack() as opened:
        training = TrainingRun(recipe, run, world, mark, opened, metrics_port=metrics_port)
        with stop_request() as stop:
            training.resume(stop)
            training.loop(stop)
        return training.conclude()
