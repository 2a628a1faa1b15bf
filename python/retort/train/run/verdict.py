"""After training: a fresh process verifies the checkpoint, and the report says what came of it."""

import json
import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from retort.core.atomic import storage_errors, sync_path
from retort.core.config import Recipe
from retort.core.errors import VerificationError
from retort.core.forks.client import run as run_process
from retort.core.seal import Sealed, remember, sealed_here
from retort.data.store.store import TokenStore
from retort.evaluate.held_out import HELD_OUT
from retort.evaluate.report.document_facts import document_facts
from retort.evaluate.report.model_card import CardFacts, model_card
from retort.evaluate.report.report import render
from retort.evaluate.report.run_facts import RunFacts
from retort.evaluate.report.timings_report import render_timings
from retort.evaluate.task import Measured
from retort.models.config import WeightsConfig
from retort.train.checkpoints.progress_record import ProgressRecord
from retort.train.observe.metrics_file import read_metrics
from retort.train.observe.open import METRICS, TIMINGS
from retort.train.observe.timings import read_timings, summary
from retort.train.processes.world import World
from retort.train.recipe import TrainingRecipe
from retort.train.run.directory import CARD, CHECKPOINT, REPORT, RUN
from retort.train.run.source import SourceFacts
from retort.train.tasks.task import Task
from retort.train.tasks.tokens import TRAIN
from retort.train.timing.host import host_facts

_TIMINGS_PAGE = "timings.html"
_LOCAL = re.compile(r"^(file://)?/(.*/)?(?=.)")


@dataclass(frozen=True)
class Trained:
    """What training left.

    Attributes:
        selected: the step whose weights the checkpoint holds.
        device: that the results of held-out documents were computed on; its kind decides their bits.
    """

    task: Task
    progress: ProgressRecord
    selected: int
    device: torch.device


@dataclass(frozen=True)
class RunResult:
    """A finished run. `failure` says why it is not good enough, if it is not."""

    checkpoint: Sealed
    metrics: Measured
    failure: str | None
    seconds: float


def judge(
    recipe: Recipe[TrainingRecipe], run: Path, trained: Trained, source: SourceFacts
) -> RunResult:
    """Have a fresh process verify the checkpoint, and write the report."""
    config, task, progress = recipe.config, trained.task, trained.progress
    checkpoint = sealed_here(run / CHECKPOINT)
    remember(checkpoint)
    answer = _verify(run, checkpoint, trained, config)
    results = task.present(answer["metrics"])
    failure: str | None = answer["failure"]
    _write_json(run / "evaluation.json", {"failure": failure, **results.metrics.to_json()})
    lines = read_metrics(run / METRICS, progress.step, progress.metrics)
    steps: list[dict[str, Any]] = [json.loads(line) for line in lines]
    best = progress.best(config.evaluate)
    facts = RunFacts(
        name=recipe.name,
        checkpoint=checkpoint,
        failure=failure,
        results=results,
        losses=[step["loss"] for step in steps],
        rates=[step["lr"] for step in steps],
        gradient_norms=[step["gradient_norm"] for step in steps],
        samples=progress.step * config.train.batch,
        parameters=sum(weight.numel() for weight in task.model.parameters()),
        train_documents=len(task.store.part(TRAIN)),
        held_out_documents=len(task.store.part(HELD_OUT)),
        data=document_facts(task.store.sealed),
        tokens=task.tokens,
        configuration=_without_places(config),
        evaluations=progress.evaluations,
        best_step=None if best is None else best.step,
        lock=source.lock,
        commit=source.commit,
        beside={
            CARD: "the model card",
            METRICS: "loss, rate and gradient norm of each step",
            _TIMINGS_PAGE: "how long it took, and where the time went",
        },
    )
    (run / REPORT).write_text(render(facts), encoding="utf-8")
    (run / CARD).write_text(model_card(_card(facts, run, trained, config)), encoding="utf-8")
    return RunResult(checkpoint, results.metrics, failure, 0.0)


def _card(facts: RunFacts, run: Path, trained: Trained, config: TrainingRecipe) -> CardFacts:
    weights, train, task = config.model.weights, config.train, trained.task
    procedure = {
        "optimiser steps": f"{trained.progress.step:,}",
        "weights of step": f"{trained.selected:,}",
        "batch": f"{train.batch}, in {train.shards} logical shards",
        "learning rate": f"{config.optimizer.lr:g}, {config.schedule.decay} decay",
        "warm-up": f"{config.schedule.warmup:.0%} of all steps",
        "weight decay": f"{config.optimizer.weight_decay:g}",
        "gradient clipping": f"{config.optimizer.max_grad_norm:g}",
        "precision": train.precision,
        "arithmetic": train.settled_arithmetic,
        "seed": f"{train.seed}",
        "back end": config.backend,
    }
    results = task.results
    return CardFacts(
        run=facts,
        dataset=_source(task.store, config),
        base_model=None if weights is None else _base(weights),
        verify=(
            f'./tools/bazel run //train:verify -- --checkpoint "$RUN"/{CHECKPOINT} '
            f'--seal {facts.checkpoint.seal} --store "$RUN"/{_place(task.store.sealed.path, run)} '
            f'--{results.name} "$RUN"/{results.path(Path())}'
            f'{"".join(f" {part}" for part in _where(trained.device))}'
        ),
        procedure=procedure,
        portable=train.arithmetic == "portable",
    )


def _source(store: TokenStore, config: TrainingRecipe) -> str:
    """What the documents are called. A store that is made by hand may not know it."""
    documents = store.sealed.manifest.config.get("data")
    source = documents.get("source") if isinstance(documents, dict) else None
    name = source.get("hub") if isinstance(source, dict) else source
    return name if isinstance(name, str) else config.data.name


def _base(weights: WeightsConfig) -> str | None:
    if weights.directory is not None:
        return weights.directory.name
    return weights.hub or weights.package


def _place(path: Path, run: Path) -> str:
    """A path from the run's directory on, for a shell."""
    return shlex.quote(os.path.relpath(path.resolve(), run.resolve()))


def _without_places(config: TrainingRecipe) -> str:
    """The recipe as YAML, of local paths the last name alone: the rest says nothing elsewhere."""

    def shown(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: shown(item) for key, item in value.items()}
        if isinstance(value, list):
            return [shown(item) for item in value]
        return _LOCAL.sub("…/", value) if isinstance(value, str) else value

    values = shown(config.model_dump(mode="json"))
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)


def _verify(
    run: Path, checkpoint: Sealed, trained: Trained, config: TrainingRecipe
) -> dict[str, Any]:
    """Have a process that knows only the files verify them."""
    task = trained.task
    command = ["retort.evaluate.verify", "--json"]
    command += ["--checkpoint", str(checkpoint.path), "--seal", checkpoint.seal]
    command += ["--store", str(task.store.sealed.path)]
    command += [f"--{task.results.name}", str(task.results.path(run))]
    command += _where(trained.device)
    if config.evaluate.min_accuracy > 0.0:
        command += ["--min-accuracy", str(config.evaluate.min_accuracy)]
    if config.evaluate.max_loss is not None:
        command += ["--max-loss", str(config.evaluate.max_loss)]
    if trained.device.type == "cuda":
        torch.cuda.empty_cache()  # The other process needs the memory that this one only keeps.
    # In its own session: Ctrl-C reaches this process alone, which then ends the other.
    done = run_process(command, quietly=True)
    if not done.stdout:
        reason = done.stderr.strip().removeprefix("error: ")
        raise VerificationError(f"the fresh process failed: {reason}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _where(device: torch.device) -> list[str]:
    """What the verifying process is told of the device, for the kind that is not its own choice."""
    return [] if device.type == "cpu" else ["--device", device.type]


def finish(run: Path, name: str, world: World, start: float, seconds: float) -> None:
    """Write what differs from run to run; with run.json the run is complete."""
    timings, host = read_timings(run / TIMINGS), host_facts()
    facts = {
        "started": start,
        "seconds": seconds,
        "processes": world.size,
        "timings": summary(timings),
        "host": host,
    }
    with storage_errors(run):
        if timings:
            page = render_timings(name, timings, _shown(host))
            (run / _TIMINGS_PAGE).write_text(page, encoding="utf-8")
        for file in run.iterdir():
            if file.is_file():
                sync_path(file)
        partial = run / f"{RUN}.partial"
        _write_json(partial, facts)
        sync_path(partial)
        partial.replace(run / RUN)
        sync_path(run)


def _shown(host: Mapping[str, Any]) -> dict[str, str]:
    """Facts of the machine as one reads them."""
    shown = {key.replace("_bytes", ""): str(value) for key, value in host.items()}
    shown["memory"] = f"{host['memory_bytes'] / 2**30:.1f} GiB"
    shown["libraries"] = ", ".join(
        f"{name} {version}" for name, version in host["libraries"].items() if version
    )
    return shown


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
