"""A classifier's loss: the parts of a step's shards add up to the mean of the whole step."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

from retort.core.errors import ConfigError
from retort.models.determinism import fix_arithmetic
from retort.train.recipe import TrainingRecipe
from retort.train.tasks.open import open_task
from retort.train.tasks.task import Task
from tests.tiny.inputs import write_documents, write_weights

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Documents, three of four about sport, and weights."""
    fix_arithmetic(1)
    root = tmp_path_factory.mktemp("classification")
    documents = write_documents(root / "documents", count=40)
    for file in sorted((documents / "tech").iterdir())[13:]:
        file.unlink()
    write_weights(root / "weights")
    return root


def open_classification(root: Path, shards: int, **train: Any) -> Task:
    run = root / f"run-{shards}-{len(train)}"
    shutil.rmtree(run, ignore_errors=True)
    recipe = TrainingRecipe.model_validate(
        {
            "data": {
                "source": "directory",
                "directory": str(root / "documents"),
                "held_out": 0.2,
                "max_tokens": 12,
                "grouping": 1,
            },
            "model": {"weights": {"directory": str(root / "weights")}},
            "optimizer": {"lr": 1e-2},
            "train": {"steps": 12, "batch": 12, "shards": shards, "threads": 1, **train},
        },
        context={"start": root},
    )
    task = open_task(recipe, run, CPU, lambda function: function())
    task.model.eval()
    return task


@pytest.mark.parametrize(
    "train",
    [
        {},
        {"label_smoothing": 0.2},
        {"class_weights": "balanced"},
        {"class_weights": "balanced", "label_smoothing": 0.1},
    ],
    ids=["plain", "smoothed", "weighted", "both"],
)
def test_parts_add_up_to_pytorchs_mean_over_the_whole_step(
    root: Path, train: dict[str, Any]
) -> None:
    cut, whole = open_classification(root, 4, **train), open_classification(root, 1, **train)
    counts = torch.bincount(torch.from_numpy(cut.store.part("train").labels))
    weights = torch.ones(2)
    if "class_weights" in train:
        weights = counts.sum() / (2 * counts)
        assert weights[1] > 2 * weights[0]
    for step in (0, 1, 7):
        parts = [cut.loss(cut.model, cut.micro_batch(step, shard), step) for shard in range(4)]
        batch: Any = whole.micro_batch(step, 0)
        labels = torch.from_numpy(batch.labels)
        logits = whole.model(torch.from_numpy(batch.ids), torch.from_numpy(batch.mask))
        mean = cross_entropy(
            logits, labels, weight=weights, label_smoothing=train.get("label_smoothing", 0.0)
        )
        assert torch.stack(parts).sum().item() == pytest.approx(mean.item(), rel=1e-5)
        assert whole.loss(whole.model, batch, step).item() == pytest.approx(mean.item(), rel=1e-6)
        assert all(part.dtype == torch.float32 for part in parts)


def test_a_part_does_not_depend_on_what_was_asked_for_before(root: Path) -> None:
    task = open_classification(root, 4, class_weights="balanced")
    batch = task.micro_batch(3, 2)
    first = task.loss(task.model, batch, 3)
    for step, shard in ((0, 0), (7, 3), (3, 0)):
        task.loss(task.model, task.micro_batch(step, shard), step)
    assert torch.equal(task.loss(task.model, task.micro_batch(3, 2), 3), first)


def test_the_tokens_of_a_step_are_those_that_are_not_padding(root: Path) -> None:
    task = open_classification(root, 4)
    for step in range(3):
        batches: list[Any] = [task.micro_batch(step, shard) for shard in range(4)]
        assert task.seen(step) == sum(int(batch.mask.sum()) for batch in batches)


def test_a_batch_larger_than_an_epoch_is_refused(root: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"train\.batch: 1000000000 is more than the \d+ documents"
    ):
        open_classification(root, 1, batch=1_000_000_000)
