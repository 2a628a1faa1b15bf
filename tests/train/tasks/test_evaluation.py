"""Ranks evaluate together what one evaluates alone, to the last bit."""

import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from retort.core.config import load_recipe, to_yaml
from retort.models.determinism import fix_arithmetic
from retort.train.recipe import TrainingRecipe
from retort.train.tasks.open import open_task
from tests.processes.held_out import WORLDS
from tests.tiny.inputs import write_documents, write_recipe, write_weights


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tensor, dict[int, list[Tensor]]]:
    """Of every batch here, one after the other; and of every rank of every world."""
    fix_arithmetic(1)
    root = tmp_path_factory.mktemp("held-out")
    documents = write_documents(root / "documents", count=150)
    file = write_recipe(root / "recipe.yaml", documents, write_weights(root / "weights"))
    recipe = load_recipe(TrainingRecipe, file, ["data.held_out=0.5"], root).config
    task = open_task(recipe, root / "alone", torch.device("cpu"), lambda function: function())
    task.model.eval()
    held_out = task.held_out
    alone = [held_out.results(task.model, number) for number in range(held_out.batches)]
    lengths = [len(one) for one in alone]
    assert len(set(lengths[:-1])) == 1
    assert lengths[-1] < lengths[0], "the last batch is shorter"
    assert len(alone) not in (1, 2, 3, 6), "worlds do not share the batches evenly"

    store = root / "alone" / "tokens"
    data = f"data={{source: token_store, store: {store}, max_tokens: 16}}"
    file.write_text(to_yaml(load_recipe(TrainingRecipe, file, [data], root).config))
    command = [sys.executable, "-m", "tests.processes.held_out", str(file), str(root)]
    subprocess.run(command, check=True)
    return torch.cat(alone), {
        size: [load_file(root / str(size) / str(rank))["results"] for rank in range(size)]
        for size in WORLDS
    }


@pytest.mark.parametrize("size", WORLDS)
def test_every_rank_knows_what_one_process_computes(
    results: tuple[Tensor, dict[int, list[Tensor]]], size: int
) -> None:
    alone, together = results
    for of_rank in together[size]:
        assert of_rank.dtype == alone.dtype
        assert torch.equal(of_rank, alone)
