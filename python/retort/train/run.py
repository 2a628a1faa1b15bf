"""A whole training run: documents, weights, training, checkpoint, verification, report.

The run directory appears when all of it is there:

    dataset/             sealed: distinct documents, split
    checkpoint/          sealed: weights, tokenizer, labels
    logits.safetensors   of the held-out documents, by the trained model in memory
    metrics.jsonl        one line for each optimiser step
    evaluation.json      what the verifying process measured
    recipe.yaml          the resolved configuration
    report.html          for people
    run.json             wall-clock times, machine, versions: what no seal may hold
"""

import dataclasses
import json
import logging
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from retort.core.atomic import replacing, sync_path
from retort.core.config import Recipe, to_yaml
from retort.core.errors import StorageError, VerificationError
from retort.core.seal import Sealed
from retort.data.dataset import DocumentSet, prepare_dataset
from retort.data.tokenise import Tokeniser, Tokens
from retort.evaluate.metrics import Metrics
from retort.evaluate.report import RunFacts, TokenFacts, render
from retort.evaluate.verify import write_logits
from retort.models.checkpoint import save_checkpoint
from retort.models.determinism import fix_arithmetic
from retort.models.predict import logits_of_all
from retort.models.weights import TOKENIZER, build_classifier, find_weights
from retort.train.host import host_facts
from retort.train.loop import Step, train
from retort.train.progress import show_progress
from retort.train.recipe import TrainingRecipe, sealed_configuration

_log = logging.getLogger(__name__)

CHECKPOINT = "checkpoint"
REPORT = "report.html"
_RUN = "run.json"


@dataclass(frozen=True)
class RunResult:
    """A finished run. `failure` says why it is not good enough, if it is not."""

    checkpoint: Sealed
    metrics: Metrics
    failure: str | None
    seconds: float


@dataclass(frozen=True)
class _Material:
    """What training starts from."""

    documents: DocumentSet
    model: PreTrainedModel
    tokenise: Tokeniser
    train: Tokens
    held_out: Tokens
    inputs: Mapping[str, str]


def run_recipe(recipe: Recipe[TrainingRecipe], out: Path, *, overwrite: bool) -> RunResult:
    """Run a recipe and leave everything at `out`, in one step at the end.

    Args:
        overwrite: replace a run that `out` already holds; anything else is never replaced.
    Raises:
        UserError: the recipe, its inputs or `out` are not usable; nothing is left behind.
        VerificationError: the fresh process could not even read the checkpoint.
    """
    start = time.time()

    def check_replaceable(existing: Path) -> None:
        if not (existing / _RUN).is_file():
            raise StorageError(f"{existing}: holds something else than a run; choose another --out")
        if not overwrite:
            raise StorageError(
                f"{existing}: holds a run already; add --overwrite or choose another --out"
            )

    with replacing(out, check_replaceable) as directory:
        result = _run(recipe, directory)
        seconds = time.time() - start
        run_facts = {"started": start, "seconds": seconds, "host": host_facts()}
        _write_json(directory / _RUN, run_facts)
        for file in directory.iterdir():
            if file.is_file():
                sync_path(file)
    checkpoint = dataclasses.replace(result.checkpoint, path=out / CHECKPOINT)
    return dataclasses.replace(result, checkpoint=checkpoint, seconds=seconds)


def _run(recipe: Recipe[TrainingRecipe], directory: Path) -> RunResult:
    config = recipe.config
    fix_arithmetic(config.train.threads)
    (directory / "recipe.yaml").write_text(to_yaml(config), encoding="utf-8")
    material = _prepare(config, directory)
    documents, model = material.documents, material.model

    targets = torch.tensor(documents.targets(documents.train))
    total, batch = config.train.steps, config.train.batch
    steps: list[Step] = []
    with (directory / "metrics.jsonl").open("w", encoding="utf-8") as metrics_file:
        for step in show_progress(train(model, material.train, targets, config), total, batch):
            steps.append(step)
            metrics_file.write(json.dumps(asdict(step)) + "\n")

    trained = logits_of_all(model, material.held_out.ids, material.held_out.mask)
    write_logits(directory / "logits.safetensors", trained)
    checkpoint = save_checkpoint(
        directory / CHECKPOINT,
        model=model,
        tokenise=material.tokenise,
        labels=documents.labels,
        threads=config.train.threads,
        inputs=material.inputs,
        config=sealed_configuration(config),
    )
    _log.info("sealed the checkpoint; a fresh process verifies it")
    metrics, failure = _verify(directory, config.evaluate.min_accuracy)
    _write_json(directory / "evaluation.json", {"failure": failure, **metrics.to_json()})
    facts = RunFacts(
        name=recipe.name,
        checkpoint=checkpoint,
        failure=failure,
        metrics=metrics,
        losses=[step.loss for step in steps],
        rates=[step.lr for step in steps],
        samples=total * batch,
        parameters=sum(weight.numel() for weight in model.parameters()),
        train_documents=len(documents.train),
        data=documents.facts,
        tokens=TokenFacts(
            max_tokens=config.data.max_tokens,
            truncated=material.train.truncated + material.held_out.truncated,
            dropped=material.train.dropped + material.held_out.dropped,
        ),
        configuration=to_yaml(config),
    )
    (directory / REPORT).write_text(render(facts), encoding="utf-8")
    return RunResult(checkpoint, metrics, failure, seconds=0.0)


def _prepare(config: TrainingRecipe, directory: Path) -> _Material:
    weights = find_weights(config.model.weights)
    documents = prepare_dataset(config.data, directory / "dataset")
    facts = documents.facts
    _log.info(
        "%d documents, %d duplicates removed, %d not UTF-8; %d to learn from, %d held out",
        facts.documents,
        facts.duplicates,
        facts.not_utf8,
        len(documents.train),
        len(documents.held_out),
    )
    tokenise = Tokeniser.from_file(weights.directory / TOKENIZER, config.data.max_tokens)
    model = build_classifier(weights, documents.labels, tokenise, config.train.seed)
    train_tokens = tokenise.encode([document.text for document in documents.train])
    held_out_tokens = tokenise.encode([document.text for document in documents.held_out])
    _log.info(
        "%d documents are longer than %d tokens; %d tokens cut off",
        train_tokens.truncated + held_out_tokens.truncated,
        config.data.max_tokens,
        train_tokens.dropped + held_out_tokens.dropped,
    )
    return _Material(
        documents=documents,
        model=model,
        tokenise=tokenise,
        train=train_tokens,
        held_out=held_out_tokens,
        inputs={"dataset": documents.sealed.seal, "weights": weights.digest},
    )


def _verify(directory: Path, min_accuracy: float) -> tuple[Metrics, str | None]:
    """Have a process that knows only the files verify them."""
    command = [sys.executable, "-m", "retort.evaluate.verify", "--json"]
    command += ["--checkpoint", str(directory / CHECKPOINT)]
    command += ["--dataset", str(directory / "dataset")]
    command += ["--logits", str(directory / "logits.safetensors")]
    command += ["--min-accuracy", str(min_accuracy)]
    # Its own session: Ctrl-C reaches this process alone, which then stops the other.
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, start_new_session=True
    )
    if not done.stdout:
        raise VerificationError(f"the fresh process failed: {done.stderr.strip()}")
    answer = json.loads(done.stdout)
    return Metrics.from_json(answer["metrics"]), answer["failure"]


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
