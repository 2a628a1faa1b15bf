"""What all ranks of a run do together: it is opened, resumed, looped and concluded."""

import dataclasses
import logging
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import torch
from torch import Tensor

from retort.core.config import Recipe, for_seal
from retort.core.errors import VerificationError
from retort.core.machine import keep_freed_memory, look_past_what_is_there
from retort.data.tokenizers.library import load_tokenizer
from retort.evaluate.held_out import HELD_OUT
from retort.evaluate.report.run_facts import Evaluation
from retort.models.checkpoint import stored_weights
from retort.models.determinism import fix_arithmetic
from retort.train.checkpoints.kept import KeptCheckpoints
from retort.train.checkpoints.policy import CheckpointPolicy
from retort.train.checkpoints.progress_record import ProgressRecord
from retort.train.checkpoints.resume import (
    Beginning,
    TensorReader,
    checkpoint_path,
    sound_checkpoint,
)
from retort.train.checkpoints.tensor_file import TensorSpec
from retort.train.checkpoints.writer import CheckpointWriter, State, with_moments
from retort.train.engines.engine import Engine
from retort.train.engines.open import open_engine
from retort.train.observe.metrics_endpoint import MetricsEndpoint
from retort.train.observe.metrics_file import read_metrics, with_line
from retort.train.observe.observer import Observer
from retort.train.observe.open import METRICS, TIMINGS, open_observers
from retort.train.observe.step import Step
from retort.train.observe.timings import Timekeeper, read_timings, summary_line
from retort.train.processes.failures import StepMark
from retort.train.processes.stop import StopRequest
from retort.train.processes.world import World
from retort.train.recipe import TrainingRecipe, sealed_configuration
from retort.train.run.directory import CHECKPOINT
from retort.train.run.divergence import DivergenceGuard, Fault, TrainingStopped, stopped_after
from retort.train.run.inspection import write_inspection
from retort.train.run.schedule import learning_rate
from retort.train.run.verdict import Trained
from retort.train.tasks.evaluation import held_out_results
from retort.train.tasks.open import open_task
from retort.train.tasks.task import Task
from retort.train.tasks.tokens import TRAIN
from retort.train.timing.peak_flops import peak_of
from retort.train.timing.phases import PhaseClock
from retort.train.timing.throughput import Meter, ModelCost

_log = logging.getLogger(__name__)

_CPU = torch.device("cpu")


class TrainingRun:
    """A model from the recipe to its sealed weights. All ranks call every method.

    Every step is a function of weights, moments and its own number: its documents, dropout and
    learning rate follow from these. So it makes no difference where a run was interrupted, and
    what was lost of it is lost for a while only.
    """

    def __init__(
        self,
        recipe: Recipe[TrainingRecipe],
        path: Path,
        world: World,
        mark: StepMark,
        opened: ExitStack,
        *,
        metrics_port: int | None,
    ) -> None:
        """Open all that steps are made of, and find the checkpoint to go on from.

        Args:
            path: the run's directory.
            opened: closes what is opened.
            metrics_port: where the first rank of each machine tells Prometheus its figures.
        Raises:
            UserError: the recipe, its inputs or what is in the directory are not usable.
        """
        config = self._config = recipe.config
        self._path, self._world, self._mark, self._clock = path, world, mark, PhaseClock()
        portable = config.train.arithmetic == "portable"
        fix_arithmetic(config.train.threads, portable=portable)
        keep_freed_memory()
        self._task = open_task(config, path, world.device, world.alone)
        _describe(self._task, world)
        self._engine, state = self._open_engine()

        self._kept = KeptCheckpoints(path, world, state.inputs, state.config)
        self._start = self._kept.newest()
        self._progress = self._start.progress
        self._results: Tensor | None = None
        """Of the held-out documents by the weights as they are, if that is known."""

        peak = peak_of(world.device, config.train.precision, portable=portable)
        self._meter = Meter(ModelCost.of(self._task.model, *self._task.attention), peak, world.size)
        self._observer = opened.enter_context(
            closing(self._open_observer(recipe.name, metrics_port))
        )
        self._writer = opened.enter_context(CheckpointWriter(world, state))
        opened.enter_context(self._inspected())
        self._policy = CheckpointPolicy(
            path,
            config.checkpoints,
            config.evaluate,
            world,
            self._writer,
            before=self._observer.sync,
        )
        self._timekeeper = Timekeeper(self._clock, self._meter, world.device, config.logging.every)
        look_past_what_is_there()

    def resume(self, stop: StopRequest) -> None:
        """Go on from the newest checkpoint, if there is one.

        Raises:
            As `loop`.
        """
        path, step = self._start.path, self._progress.step
        if self._secure_best(stop) and self._world.is_main:
            sound_checkpoint(self._path, step)  # that was hours ago, maybe
        if path is not None:
            self._restore(path, step)
            if self._world.is_main:
                _log.info("going on after step %d, from %s", step, path)

    def loop(self, stop: StopRequest) -> None:
        """Train to the end of the recipe, or until it stops early, and take up the weights of the result.

        Raises:
            TrainingStopped: a loss or norm is not finite, or a spike; or what is to be kept of the model
                is not finite, or its results. What the step was computed from is in `stopped/`.
            VerificationError: what was computed again is not what was recorded.
            KeyboardInterrupt, Terminated: somebody asked to stop; a checkpoint is sealed.
            StorageError: a checkpoint could not be written.
        """
        self._progress = self._train(self._progress, stop, self._observer)
        step = self._progress.selected(self._config.evaluate)
        if step != self._progress.step:
            self._secure_best(stop)
            self._restore(checkpoint_path(self._path, step), step)
            if self._world.is_main:
                metric = self._config.evaluate.metric
                _log.info("the checkpoint is that of step %d, the best by %s", step, metric)

    def conclude(self) -> Trained:
        """Write what the weights of the result say of the held-out documents, and seal them."""
        task, progress = self._task, self._progress
        if self._world.is_main and progress.step > 0:
            timings = read_timings(self._path / TIMINGS)
            _log.info("%s", summary_line(timings, self._meter.peak.source))
        results = self._results
        if results is None:
            results = held_out_results(task, self._engine.model, self._world)
            task.held_out.measure(results)  # refuses what is not finite, before anything is sealed
        self._world.alone(lambda: task.results.write(task.results.path(self._path), results))
        self._writer.begin(self._path / CHECKPOINT, ["model"])
        selected = progress.selected(self._config.evaluate)
        return Trained(task, progress, selected, self._world.device)

    def _train(
        self,
        progress: ProgressRecord,
        stop: StopRequest,
        observer: Observer,
        until: int | None = None,
    ) -> ProgressRecord:
        """Make steps after those of `progress`, whose weights the engine has.

        Args:
            until: the step to end after, before the recipe's end.
        """
        guard = DivergenceGuard(self._config.divergence, progress.losses)
        self._engine.model.train()
        while progress.step != until and not self._done(progress):
            step = self._step(progress.step)
            guard.judge(step)
            progress = dataclasses.replace(
                progress,
                step=step.number,
                losses=tuple(guard.state()),
                metrics=with_line(progress.metrics, step),
            )
            observer.step(step)
            try:
                progress = self._evaluate(progress, observer)
                with self._clock.phase("checkpoint"):
                    self._policy.after(progress, stop, done=self._done(progress))
            except VerificationError as error:
                raise stopped_after(step, f"after it, {error}") from error
            timing = self._timekeeper.after(step)
            if timing is not None:
                observer.timing(timing)
        rest = self._timekeeper.rest()
        if rest is not None:
            observer.timing(rest)
        return progress

    def _step(self, number: int) -> Step:
        """Make step `number` (from 0)."""
        config = self._config
        self._results = None
        self._mark.at(number + 1)
        lr = learning_rate(config.schedule, config.optimizer.lr, number, config.train.steps)
        with self._clock.phase("compute"), self._world.together(f"in step {number + 1}"):
            outcome = self._engine.step(number, lr)
        return Step(
            number=number + 1,
            loss=sum(outcome.losses),
            losses=outcome.losses,
            lr=lr,
            gradient_norm=outcome.gradient_norm,
            samples=config.train.batch,
            tokens=self._task.seen(number),
        )

    def _evaluate(self, progress: ProgressRecord, observer: Observer) -> ProgressRecord:
        """Measure the model on the held-out documents if that is due, at the end in any case."""
        step, every = progress.step, self._config.evaluate.every
        due = every is not None and step % every == 0
        if not due and step != self._config.train.steps:
            return progress
        with self._clock.phase("evaluation"):
            self._results = held_out_results(self._task, self._engine.model, self._world)
            figures = self._task.held_out.measure(self._results).figures()
        if every is None:
            return progress
        observer.evaluation(step, figures)
        return progress.with_evaluation(Evaluation(step, figures))

    def _done(self, progress: ProgressRecord) -> bool:
        config = self._config
        return progress.step >= config.train.steps or progress.should_stop(config.evaluate)

    def _secure_best(self, stop: StopRequest) -> bool:
        """Make the best checkpoint so far again, if the result needs it and it cannot be had.

        Returns:
            Whether it was, so that the engine's state is now another than it was.
        """
        step = self._progress.selected(self._config.evaluate)
        reason = None if step == self._progress.step else self._kept.fault(step)
        if reason is None:
            return False
        start = self._kept.newest(before=step)
        if self._world.is_main:
            _log.warning(
                "%s; step %d is the best so far, so steps %d to %d are computed again",
                reason,
                step,
                start.progress.step + 1,
                step,
            )
        self._restore(start.path, start.progress.step)
        # The lines of these steps are there.
        made = self._train(start.progress, stop, Observer(), until=step)
        self._writer.finish()
        if made.evaluations != tuple(one for one in self._progress.evaluations if one.step <= step):
            raise VerificationError(
                f"step {step} was computed again, and its evaluation is not the recorded one: "
                "another kind of processor, library or number of processes gives other bits; go on "
                "where the run began, or start it again with --overwrite"
            )
        return True

    def _restore(self, path: Path | None, step: int) -> None:
        """Take over the state of a checkpoint, or without a path that of the beginning; all ranks read."""
        self._results = None
        if path is not None:
            self._engine.restore(TensorReader(path), step)
        else:
            task = open_task(self._config, self._path, _CPU, self._world.alone)
            self._engine.restore(Beginning(task.model), step)

    def _open_engine(self) -> tuple[Engine, State]:
        """The engine, and what a checkpoint holds: taken first, as ZeRO hides what it shares out."""
        config, task = self._config, self._task
        weights = {name: TensorSpec.of(one) for name, one in stored_weights(task.model).items()}
        engine, trained = open_engine(config, task, self._world, self._clock)
        state = State(
            inputs=task.inputs,
            config=sealed_configuration(config, task.store.sealed.manifest),
            files=task.files(config.train.threads),
            tensors=with_moments(weights, trained),
            slices=engine.slices,
        )
        return engine, state

    def _open_observer(self, name: str, metrics_port: int | None) -> Observer:
        """What rank 0 tells, from the step on that the run goes on after; of the others, what a
        machine's first tells Prometheus, which asks every machine."""
        done, total = self._progress.step, self._config.train.steps
        if not self._world.is_main:
            if metrics_port is None or self._world.local_rank:
                return Observer()
            return MetricsEndpoint(metrics_port, total=total, done=done)
        read_metrics(self._path / METRICS, done, self._progress.metrics)
        return open_observers(
            self._config.logging,
            self._path,
            total=total,
            done=done,
            name=name,
            recipe=for_seal(self._config),
            metrics_port=metrics_port,
        )

    @contextmanager
    def _inspected(self) -> Iterator[None]:
        """Have a run that is stopped at a step leave what the step was computed from."""
        try:
            yield
        except TrainingStopped as stopped:
            self._writer.finish()  # what was begun before is good, and all ranks are here
            fault = stopped.fault
            self._world.alone(lambda: self._inspect(fault))
            raise

    def _inspect(self, fault: Fault) -> None:
        step, tokenizer = fault.step.number - 1, load_tokenizer(self._task.store.tokenizer)
        shards = {shard: self._task.inspect(step, shard, tokenizer) for shard in fault.shards}
        place = write_inspection(self._path, fault, shards)
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
