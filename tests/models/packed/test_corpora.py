"""On every document of BBC News a packed pass says what transformers says, but for rounding of float32."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from retort.core.config import load_recipe
from retort.models.packed.forms import packed_form
from retort.models.packed.heads import answered
from retort.models.packed.passes import Pass
from retort.models.packed.sequences import Sequences, packed
from retort.train.recipe import TrainingRecipe, recipes
from retort.train.tasks.open import open_task
from retort.train.tasks.task import Task

CLOSE = 1e-5


def opened(name: str, folder: Path) -> Task:
    recipe = load_recipe(TrainingRecipe, recipes() / f"{name}.yaml", [], Path()).config
    torch.manual_seed(0)
    return open_task(recipe, folder, torch.device("cpu"), lambda work: work())


def epoch(task: Task, documents: int) -> Iterator[Any]:
    """Batches of all documents to learn from, or all blocks, each at least once."""
    step, seen = 0, 0
    while seen < documents:
        for shard in range(4):
            batch = task.micro_batch(step, shard)
            seen += len(batch.ids)
            yield batch
        step += 1


def test_minilm_says_of_every_text_what_transformers_says(tmp_path: Path) -> None:
    task = opened("bbc_minilm", tmp_path)
    model: Any = task.model.eval()
    form = packed_form(model.backbone.config)
    assert form is not None
    body, head = (dict(part.named_parameters()) for part in (model.backbone, model.head))
    worst = 0.0
    with torch.inference_mode():
        for batch in epoch(task, len(task.store.part("train"))):
            ids, mask = torch.from_numpy(batch.ids), torch.from_numpy(batch.mask)
            sequences = packed(ids, mask)
            hidden = form(body, sequences)
            ours = answered(model.head.config, head, hidden, sequences.offsets, Pass())
            worst = max(worst, (ours - model(ids, mask)).abs().max().item())
    print(f"largest difference of a logit: {worst:.2e}")
    assert 0 < worst < CLOSE


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_language_model_says_of_every_block_what_transformers_says(
    family: str, tmp_path: Path
) -> None:
    recipe = load_recipe(
        TrainingRecipe,
        recipes() / "bbc_llama.yaml",
        [f"model.language_model.family={family}"],
        Path(),
    ).config
    task = open_task(recipe, tmp_path, torch.device("cpu"), lambda work: work())
    model: Any = task.model.eval()
    form = packed_form(model.decoder.config)
    assert form is not None
    weights = dict(model.decoder.named_parameters())
    worst = 0.0
    with torch.inference_mode():
        for batch in epoch(task, _blocks(task)):
            ids = torch.from_numpy(batch.ids)[:, :-1]
            offsets = torch.arange(len(ids) + 1) * ids.shape[1]
            ours = form(weights, Sequences(ids.reshape(-1), offsets))
            worst = max(worst, _difference(ours, model(ids).flatten(0, 1)))
    print(f"largest difference of a logit: {worst:.2e}")
    assert 0 < worst < CLOSE


def _blocks(task: Task) -> int:
    part = task.store.part("train")
    return (part.tokens + len(part)) // 128 + 1


def _difference(one: Tensor, other: Tensor) -> float:
    return max((a - b).abs().max().item() for a, b in _pieces(one, other))


def _pieces(one: Tensor, other: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Some rows at a time: all scores of a batch are large."""
    for begin, end in pairwise([*range(0, len(one), 256), len(one)]):
        yield one[begin:end], other[begin:end]
