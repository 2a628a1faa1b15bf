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
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from retort.core.config import Recipe, for_seal
from retort.core.errors import ConfigError
from retort.core.seal import Sealed
from retort.data.tokenizers.library import load_tokenizer
from retort.evaluate.held_out import HELD_OUT
from retort.models.checkpoint import stored_weights
from retort.models.determinism import fix_arithmetic
from retort.train.checkpoints.policy import CheckpointPolicy
from retort.train.checkpoints.progress_record import ProgressRecord
from retort.train.checkpoints.resume import (
    Beginning,
    TensorReader,
    check_same_run,
    newest_checkpoint,
    remove_leftovers,
    sound_checkpoint,
)
from retort.train.checkpoints.tensor_file import TensorSpec
from retort.train.checkpoints.writer import CheckpointWriter, Tensors
from retort.train.engines.engine import Engine
from retort.train.engines.open import open_engine
from retort.train.observe.metrics_file import read_metrics
from retort.train.observe.observer import Observer
from retort.train.observe.open import METRICS, TIMINGS, open_observers
from retort.train.observe.timings import Timekeeper, read_timings, summary_line
from retort.train.processes.failures import StepMark
from retort.train.processes.stop import stop_request
from retort.train.processes.world import World
from retort.train.recipe import TrainingRecipe, sealed_configuration
from retort.train.run.best import BestCheckpoint
from retort.train.run.directory import CHECKPOINT, claimed, write_recipe
from retort.train.run.divergence import DivergenceGuard, TrainingStopped
from retort.train.run.inspection import refuse_stopped, write_inspection
from retort.train.run.loop import Finished, Parts, train
from retort.train.run.source import SourceFacts
from retort.train.run.verdict import RunResult, Trained, finish, judge
from retort.train.tasks.evaluation import held_out_results
from retort.train.tasks.open import open_task
from retort.train.tasks.task import Task
from retort.train.tasks.tokens import TRAIN
from retort.train.timing.allocator import keep_freed_memory
from retort.train.timing.peak_flops import peak_of
from retort.train.timing.phases import PhaseClock
from retort.train.timing.throughput import Meter, ModelCost

_log = logging.getLogger(__name__)

_CPU = torch.device("cpu")


def run_recipe(
    recipe: Recipe[TrainingRecipe],
    run: Path,
    world: World,
    *,
    mark: StepMark,
    source: SourceFacts,
) -> RunResult | None:
    """Run a recipe in the directory `run`, or go on with it where it was interrupted.

    Returns:
        The result; None on all ranks but the first.
    Raises:
        UserError: the recipe, its inputs or `run` are not usable.
        TrainingStopped: the loss was no number, or a spike; what caused it is in `stopped/`.
        VerificationError: the fresh process could not even read the checkpoint, or the best one was
            computed again and is another.
    """
    start = time.time()
    if world.size > recipe.config.train.shards:
        raise ConfigError(
            f"train.shards: {recipe.config.train.shards} logical shards cannot be shared by "
            f"{world.size} processes; start at most as many, or choose more shards (which is "
            "another recipe, with another result)"
        )
    if not world.is_main:
        _train(recipe, run, world, mark)
        return None
    with claimed(run):
        refuse_stopped(run)
        write_recipe(run, recipe.config)
        remove_leftovers(run)
        trained = _train(recipe, run, world, mark)
        _log.info("sealed the checkpoint; a fresh process verifies it")
        result = judge(recipe, run, trained, source)
        seconds = time.time() - start
        finish(run, recipe.name, world, start, seconds)
    return dataclasses.replace(result, seconds=seconds)


def _train(recipe: Recipe[TrainingRecipe], run: Path, world: World, mark: StepMark) -> Trained:
    """Everything that all ranks do together."""
    config = recipe.config
    fix_arithmetic(config.train.threads)
    keep_freed_memory()

    task = open_task(config, run, world.device, world.alone)
    _describe(task, world)
    clock = PhaseClock()
    engine, tensors = _open_engine(config, task, world, clock)
    sealed_config = sealed_configuration(config, task.store.sealed.manifest)
    files = task.files(config.train.threads)

    def check_ours(sealed: Sealed) -> None:
        check_same_run(sealed.manifest, task.inputs, sealed_config, sealed.path)

    found = _newest(run, world, check_ours)
    progress = found.progress

    peak = peak_of(world.device, config.train.precision)
    meter = Meter(ModelCost.of(task.model, *task.attention), peak, world.size)

    observer = _open_observer(recipe, run, world, progress.step)
    try:
        with CheckpointWriter(world, task.inputs, sealed_config) as writer:
            with stop_request() as stop:
                policy = CheckpointPolicy(
                    run,
                    config.checkpoints,
                    config.evaluate,
                    world=world,
                    writer=writer,
                    engine=engine,
                    files=files,
                    tensors=tensors,
                    stop=stop,
                    before=observer.sync,
                )
                parts = Parts(
                    recipe=config,
                    task=task,
                    engine=engine,
                    world=world,
                    guard=DivergenceGuard(config.divergence, progress.losses),
                    policy=policy,
                    observer=observer,
                    clock=clock,
                    timekeeper=Timekeeper(clock, meter, world.device, config.logging.every),
                    mark=mark,
                )
                best = BestCheckpoint(
                    run,
                    parts,
                    writer,
                    check_ours=check_ours,
                    beginning=lambda: Beginning(open_task(config, run, _CPU, world.alone).model),
                )
                try:
                    if best.secure(progress) and world.is_main:
                        sound_checkpoint(run, progress.step)  # that was hours ago, maybe
                    _restore(found, engine, world)
                    finished = train(parts, progress)
                    progress = finished.progress
                    selected = best.take(progress)
                except TrainingStopped:
                    writer.finish()  # what was begun before is good, and all ranks are here
                    raise
            if world.is_main and progress.step > 0:
                _log.info("%s", summary_line(read_timings(run / TIMINGS), peak.source))
            results = _results(finished, selected, parts)
            world.alone(lambda: task.results.write(task.results.path(run), results))
            writer.begin(run / CHECKPOINT, files, {"model": tensors["model"]}, engine.slices())
    except TrainingStopped as stopped:
        world.alone(partial(_inspect, run, stopped, task))
        raise
    finally:
        observer.close()
    return Trained(task, progress, selected)


def _open_engine(
    config: TrainingRecipe, task: Task, world: World, clock: PhaseClock
) -> tuple[Engine, Tensors]:
    """The engine, and what a checkpoint holds: taken first, as ZeRO hides what it shares out."""
    weights = {name: TensorSpec.of(one) for name, one in stored_weights(task.model).items()}
    engine, trained = open_engine(config, task, world, clock)
    moments = {
        f"{moment}.{name}": weights[name]
        for moment in ("exp_avg", "exp_avg_sq")
        for name in trained
    }
    return engine, {"model": weights, "optimizer": moments}


@dataclass(frozen=True)
class _Newest:
    """The checkpoint that a run goes on from; None at its beginning."""

    path: Path | None
    progress: ProgressRecord


def _newest(run: Path, world: World, check_ours: Callable[[Sealed], None]) -> _Newest:
    """Rank 0 looks, and all are told."""
    newest = _Newest(None, ProgressRecord())
    found = newest_checkpoint(run) if world.is_main else None
    if found is not None:
        check_ours(found.sealed)
        read_metrics(run / METRICS, found.progress.step, found.progress.metrics)
        newest = _Newest(found.sealed.path, found.progress)
    return world.broadcast_object(newest, "while a checkpoint was looked for")


def _restore(newest: _Newest, engine: Engine, world: World) -> None:
    """Take over its state; all ranks read."""
    if newest.path is not None:
        engine.restore(TensorReader(newest.path), newest.progress.step)
        if world.is_main:
            _log.info("going on after step %d, from %s", newest.progress.step, newest.path)


def _results(finished: Finished, selected: int, parts: Parts) -> Tensor:
    """What the weights of step `selected` say of the held-out documents; it is finite."""
    if finished.results is not None and selected == finished.progress.step:
        return finished.results
    results = held_out_results(parts.task, parts.engine.model, parts.world)
    parts.task.held_out.measure(results)  # refuses what is not finite, before anything is sealed
    return results


def _open_observer(recipe: Recipe[TrainingRecipe], run: Path, world: World, done: int) -> Observer:
    if not world.is_main:
        return Observer()
    return open_observers(
        recipe.config.logging,
        run,
        total=recipe.config.train.steps,
        done=done,
        name=recipe.name,
        recipe=for_seal(recipe.config),
    )


def _inspect(run: Path, stopped: TrainingStopped, task: Task) -> None:
    fault, tokenizer = stopped.fault, load_tokenizer(task.store.tokenizer)
    step = fault.step.number - 1
    shards = {shard: task.inspect(step, shard, tokenizer) for shard in fault.shards}
    place = write_inspection(run, fault, shards)
    _log.error("what the step was computed from is in %s", place)


def _describe(task: Task, world: World) -> None:
    if not world.is_main:
        return
    store = task.store
    _log.info(
        "%d documents to learn from, %d held out",
        len(store.part(TRAIN)),
        len(store.part(HELD_OUT)),
    )
    if task.tokens is not None:
        _log.info(
            "%d are longer than %d tokens, %d tokens cut off",
            task.tokens.truncated,
            task.tokens.max_tokens,
            task.tokens.dropped,
        )
