"""The loss of embeddings: each text against the others of its logical shard, and parts that add up."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import normalize

from retort.core.errors import DataError
from retort.models.determinism import fix_arithmetic
from retort.train.recipe import TrainingRecipe
from retort.train.tasks.embeddings.task import info_nce
from retort.train.tasks.open import open_task
from retort.train.tasks.task import Task
from tests.tiny.inputs import write_documents, write_weights

CPU = torch.device("cpu")
TEMPERATURE = 0.2


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    fix_arithmetic(1)
    root = tmp_path_factory.mktemp("embeddings")
    write_documents(root / "documents")
    write_weights(root / "weights")
    return root


def open_embeddings(root: Path, shards: int, **data: Any) -> Task:
    run = root / f"run-{shards}-{len(data)}"
    shutil.rmtree(run, ignore_errors=True)
    documents = {"source": "directory", "directory": str(root / "documents"), "held_out": 0.2}
    recipe = TrainingRecipe.model_validate(
        {
            "data": {**(data or documents), "max_tokens": 12},
            "model": {
                "weights": {"directory": str(root / "weights")},
                "embeddings": {"temperature": TEMPERATURE},
            },
            "optimizer": {"lr": 1e-2},
            "train": {"steps": 12, "batch": 12, "shards": shards},
        },
        context={"start": root},
    )
    return open_task(recipe, run, CPU, lambda function: function())


def test_the_loss_is_info_nce_as_in_its_equation() -> None:
    chance = torch.Generator().manual_seed(3)
    first, second = (normalize(torch.randn(5, 7, generator=chance), dim=1) for _ in range(2))
    expected = 0.0
    for row in range(5):
        weights = [torch.dot(first[row], second[other]).div(0.1).exp() for other in range(5)]
        expected -= torch.log(weights[row] / sum(weights)).item()
    assert info_nce(first, second, 0.1).item() == pytest.approx(expected, rel=1e-5)
    precise = info_nce(first, second, 0.1)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(info_nce(first, second, 0.1), precise)


def test_negatives_are_of_the_own_shard_and_parts_add_up_over_the_step(root: Path) -> None:
    task = open_embeddings(root, 3)
    task.model.eval()  # without dropout both views are one
    for step in (0, 1, 7):
        total = 0.0
        for shard in range(3):
            batch: Any = task.micro_batch(step, shard)
            part = task.loss(task.model, batch, step)
            vectors = task.model(torch.from_numpy(batch.ids), torch.from_numpy(batch.mask))
            assert (len(vectors), part.dtype) == (4, torch.float32)
            expected = info_nce(vectors, vectors, TEMPERATURE).item() / 12
            assert part.item() == pytest.approx(expected, rel=1e-5)
            total += part.item()
        whole = open_embeddings(root, 1)
        whole.model.eval()
        every = whole.loss(whole.model, whole.micro_batch(step, 0), step).item()
        assert total < every, "all other texts of the step are more than those of a shard"


def test_a_part_is_a_function_of_weights_step_shard_and_the_seed_of_dropout(root: Path) -> None:
    task = open_embeddings(root, 3)
    task.model.train()
    parts = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        parts.append(task.loss(task.model, task.micro_batch(2, 1), 2).item())
        task.loss(task.model, task.micro_batch(0, 2), 0)
    assert parts[0] == parts[1]
    assert parts[0] != parts[2]


def test_labels_are_for_the_measure_alone(root: Path) -> None:
    task = open_embeddings(root, 3)
    task.model.eval()
    batch: Any = task.micro_batch(0, 0)
    before = task.loss(task.model, batch, 0)
    batch.labels[:] = 1 - batch.labels
    assert torch.equal(task.loss(task.model, batch, 0), before)


def test_documents_without_labels_are_refused(root: Path) -> None:
    (root / "lines.txt").write_text("".join(f"the match {number}\n" for number in range(200)))
    files = {"paths": [str(root / "lines.txt")]}
    with pytest.raises(DataError, match=r"^text: its documents have no labels"):
        open_embeddings(root, 3, source="text", files=files)
