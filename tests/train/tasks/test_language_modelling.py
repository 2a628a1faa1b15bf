"""A language model's loss: parts add up to the mean over all targets, short blocks included."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from retort.core.errors import ConfigError
from retort.models.determinism import fix_arithmetic
from retort.models.language_model import LanguageModel
from retort.train.recipe import TrainingRecipe
from retort.train.tasks.open import open_task
from retort.train.tasks.task import Task
from tests.tiny.store import byte_level_tokenizer, documents, write_tiny_store

CPU = torch.device("cpu")
CONTEXT, BATCH, SHARDS = 24, 6, 3


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    fix_arithmetic(1)
    path = tmp_path_factory.mktemp("language") / "store"
    given = documents(40)
    write_tiny_store(path, given, tokenizer=byte_level_tokenizer([one.text for one in given]))
    return path


def open_language(store: Path, context: int = CONTEXT, batch: int = BATCH, **shape: int) -> Task:
    model = {"family": "gpt2", "hidden": 16, "layers": 1, "heads": 2, "context": context}
    model |= shape
    recipe = TrainingRecipe.model_validate(
        {
            "data": {"source": "token_store", "store": str(store), "max_tokens": CONTEXT},
            "model": {"language_model": model},
            "optimizer": {"lr": 1e-2},
            "train": {"steps": 12, "batch": batch, "shards": SHARDS, "threads": 1},
        },
        context={"start": store.parent},
    )
    return open_task(recipe, store.parent / "run", CPU, lambda function: function())


def test_parts_add_up_to_the_mean_over_every_target_of_the_step(store: Path) -> None:
    task = open_language(store)
    task.model.eval()
    model = task.model
    assert isinstance(model, LanguageModel)
    short = 0
    for step in range(12):
        batches: list[Any] = [task.micro_batch(step, shard) for shard in range(SHARDS)]
        losses = [
            cross_entropy(model(row[None, :-1])[0, :count], row[1 : count + 1], reduction="none")
            for batch in batches
            for row, count in zip(torch.from_numpy(batch.ids), batch.targets.tolist(), strict=True)
        ]
        short += sum(len(one) < CONTEXT for one in losses)
        every = torch.cat(losses)
        parts = [task.loss(task.model, batch, step) for batch in batches]
        assert torch.stack(parts).sum().item() == pytest.approx(every.mean().item(), rel=1e-5)
        assert task.seen(step) == len(every)
        assert all(part.dtype == torch.float32 for part in parts)
    assert short > 0, "the last block of an epoch is among them"


def test_what_is_behind_the_last_target_counts_for_nothing(store: Path) -> None:
    task = open_language(store)
    task.model.eval()
    batch: Any = next(
        one
        for step in range(40)
        for one in (task.micro_batch(step, shard) for shard in range(SHARDS))
        if min(one.targets) < CONTEXT
    )
    row = int(batch.targets.argmin())
    before = task.loss(task.model, batch, 0)
    batch.ids[row, int(batch.targets[row]) + 1 :] = 1
    assert torch.equal(task.loss(task.model, batch, 0), before)


def test_blocks_of_another_length_than_the_context_are_refused(store: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.max_tokens: .* its context, which is 25, not 24"):
        open_language(store, CONTEXT + 1)


def test_what_cannot_fit_is_refused_before_it_is_begun(store: Path) -> None:
    with pytest.raises(ConfigError, match=r"train\.batch: 6000000 is more than the \d+ blocks"):
        open_language(store, batch=6_000_000)
    with pytest.raises(
        ConfigError, match=r"model\.language_model: [\d,]+ weights .* GiB of memory"
    ):
        open_language(store, hidden=65_536, layers=1024)
