"""A whole training run: tokens, weights, training, checkpoint, verification, report.

The run directory appears when all of it is there:

    tokens/              sealed: the token store, unless the recipe names one that is there
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

from transformers import PreTrainedModel

from retort.core.atomic import replacing, sync_path
from retort.core.config import Recipe, to_yaml
from retort.core.errors import StorageError, VerificationError
from retort.core.seal import Sealed
from retort.data.readers import ClassificationReader, Share
from retort.data.store import TokenStore
from retort.data.tokenise import Tokeniser
from retort.evaluate.held_out import HELD_OUT, held_out_logits
from retort.evaluate.metrics import Metrics
from retort.evaluate.report import RunFacts, TokenFacts, document_facts, render
from retort.evaluate.verify import write_logits
from retort.models.checkpoint import save_checkpoint
from retort.models.determinism import fix_arithmetic
from retort.models.weights import TOKENIZER, build_classifier, find_weights
from retort.train.host import host_facts
from retort.train.loop import Step, train
from retort.train.progress import show_progress
from retort.train.recipe import TrainingRecipe, sealed_configuration
from retort.train.stopwatch import Stopwatch
from retort.train.tokens import TRAIN, open_tokens

_log = logging.getLogger(__name__)

CHECKPOINT = "checkpoint"
REPORT = "report.html"
_TOKENS = "tokens"
_RUN = "run.json"


@dataclass(frozen=True)
class RunResult:
    """A finished run. `failure` says why it is not good enough, if it is not.

    Attributes:
        seconds: of the whole run; training_seconds: of its loop; reading_seconds: of the loop's
            waiting for batches.
    """

    checkpoint: Sealed
    metrics: Metrics
    failure: str | None
    training_seconds: float
    reading_seconds: float
    seconds: float = 0.0


@dataclass(frozen=True)
class _Material:
    """What training starts from."""

    store: TokenStore
    model: PreTrainedModel
    tokenise: Tokeniser
    weights: str


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
        run_facts = {
            "started": start,
            "seconds": seconds,
            "training_seconds": result.training_seconds,
            "reading_seconds": result.reading_seconds,
            "host": host_facts(),
        }
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
    store, model = material.store, material.model

    total, batch, max_tokens = config.train.steps, config.train.batch, config.data.max_tokens
    special, documents = store.facts.special, store.part(TRAIN)
    share = Share(batch)
    reader = ClassificationReader(documents, special, (max_tokens,), config.train.seed, share)
    reading, training = Stopwatch(), time.perf_counter()
    steps: list[Step] = []
    with (directory / "metrics.jsonl").open("w", encoding="utf-8") as metrics_file:
        run = train(model, reading.timed(reader.batch), config)
        for step in show_progress(run, total, batch):
            steps.append(step)
            metrics_file.write(json.dumps(asdict(step)) + "\n")
    training_seconds = time.perf_counter() - training
    _log.info(
        "training took %.1f s, of which %.2f s (%.2f %%) to read batches",
        training_seconds,
        reading.seconds,
        100 * reading.seconds / training_seconds,
    )

    write_logits(directory / "logits.safetensors", held_out_logits(model, store, max_tokens))
    checkpoint = save_checkpoint(
        directory / CHECKPOINT,
        model=model,
        tokenise=material.tokenise,
        labels=store.labels,
        threads=config.train.threads,
        inputs={"tokens": store.sealed.seal, "weights": material.weights},
        config=sealed_configuration(config, store.sealed.manifest),
    )
    _log.info("sealed the checkpoint; a fresh process verifies it")
    metrics, failure = _verify(directory, store.sealed.path, config.evaluate.min_accuracy)
    _write_json(directory / "evaluation.json", {"failure": failure, **metrics.to_json()})
    truncated, dropped = _cut(store, max_tokens)
    facts = RunFacts(
        name=recipe.name,
        checkpoint=checkpoint,
        failure=failure,
        metrics=metrics,
        losses=[step.loss for step in steps],
        rates=[step.lr for step in steps],
        samples=total * batch,
        parameters=sum(weight.numel() for weight in model.parameters()),
        train_documents=len(documents),
        data=document_facts(store.sealed),
        tokens=TokenFacts(max_tokens=max_tokens, truncated=truncated, dropped=dropped),
        configuration=to_yaml(config),
    )
    (directory / REPORT).write_text(render(facts), encoding="utf-8")
    return RunResult(checkpoint, metrics, failure, training_seconds, reading.seconds)


def _prepare(config: TrainingRecipe, directory: Path) -> _Material:
    weights = find_weights(config.model.weights)
    tokenise = Tokeniser.from_file(weights.directory / TOKENIZER, config.data.max_tokens)
    store = open_tokens(config.data, tokenise.definition, directory / _TOKENS)
    truncated, dropped = _cut(store, config.data.max_tokens)
    _log.info(
        "%d documents to learn from, %d held out; %d are longer than %d tokens, %d tokens cut off",
        len(store.part(TRAIN)),
        len(store.part(HELD_OUT)),
        truncated,
        config.data.max_tokens,
        dropped,
    )
    model = build_classifier(weights, store.labels, tokenise, config.train.seed)
    return _Material(store, model, tokenise, weights.digest)


def _cut(store: TokenStore, max_tokens: int) -> tuple[int, int]:
    """How many documents are longer than the model reads, and how many tokens it does not see."""
    room = max_tokens - store.facts.special.around
    counts = [store.part(name).over(room) for name in (TRAIN, HELD_OUT)]
    return sum(count for count, _ in counts), sum(tokens for _, tokens in counts)


def _verify(directory: Path, store: Path, min_accuracy: float) -> tuple[Metrics, str | None]:
    """Have a process that knows only the files verify them."""
    command = [sys.executable, "-m", "retort.evaluate.verify", "--json"]
    command += ["--checkpoint", str(directory / CHECKPOINT)]
    command += ["--store", str(store)]
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
