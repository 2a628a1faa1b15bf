"""The observers of a run, as its configuration wants them."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from retort.core.digest import JSON
from retort.train.observe.console import Console
from retort.train.observe.metrics_endpoint import MetricsEndpoint
from retort.train.observe.metrics_file import MetricsFile
from retort.train.observe.observer import Observer, Observers
from retort.train.observe.tensorboard import TensorBoard
from retort.train.observe.timings_file import TimingsFile
from retort.train.observe.weights_and_biases import WeightsAndBiases
from retort.train.recipe import LoggingConfig

METRICS = "metrics.jsonl"
TIMINGS = "timings.jsonl"
TENSORBOARD = "tensorboard"


def open_observers(
    config: LoggingConfig,
    directory: Path,
    *,
    total: int,
    done: int,
    name: str,
    recipe: Mapping[str, JSON],
    metrics_port: int | None = None,
) -> Observers:
    """What rank 0 tells of a run.

    Args:
        directory: of the run; it exists.
        total: the number of the last step.
        done: the step that the run goes on after; 0 begins all files anew.
        name, recipe: what Weights & Biases calls the run, and shows of it.
        metrics_port: where Prometheus reads its figures, if anywhere.
    Raises:
        DataError: metrics.jsonl lacks steps before `done`.
        StorageError: a file cannot be written.
        UserError: Weights & Biases is wanted and cannot be had; or the port cannot.
    """
    with ExitStack() as opened:
        observers: list[Observer] = []

        def add(observer: Observer) -> None:
            observers.append(observer)
            opened.callback(observer.close)

        add(MetricsFile(directory / METRICS, done))
        add(TimingsFile(directory / TIMINGS, done))
        if config.tensorboard:
            add(TensorBoard(directory / TENSORBOARD, done))
        if config.wandb_project is not None:
            add(
                WeightsAndBiases(
                    directory,
                    project=config.wandb_project,
                    mode=config.wandb_mode,
                    name=name,
                    config=recipe,
                )
            )
        if metrics_port is not None:
            add(MetricsEndpoint(metrics_port, total=total, done=done))
        add(Console(total, done))
        opened.pop_all()
    return Observers(observers)
