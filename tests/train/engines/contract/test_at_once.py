"""How many shards are computed at once is not in the bits of a step."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn

from retort.models.determinism import fix_arithmetic
from retort.models.parameters import parameter_groups
from retort.train.engines.contract.engine import ContractEngine
from retort.train.engines.contract.settings import ContractSettings
from retort.train.engines.engine import Outcome
from retort.train.processes.world import World
from retort.train.recipe import TrainingRecipe
from retort.train.tasks.open import open_task
from retort.train.timing.phases import PhaseClock
from tests.tiny.tasks import MADE, of_documents

CPU = torch.device("cpu")
STEPS, SHARDS = 3, 6
# A shard of the classifier has up to 24 tokens, one of the language model 32.
AT_ONCE = (1, 50, 100, 1000)


def changed(recipe: Path, changes: dict[str, dict[str, Any]]) -> TrainingRecipe:
    """A tiny recipe with other values."""
    values = yaml.safe_load(recipe.read_text())
    for section, some in changes.items():
        values[section] = {**values[section], **some}
    return TrainingRecipe.model_validate(values, context={"start": recipe.parent})


def steps(recipe: TrainingRecipe, root: Path, at_once: int) -> tuple[list[Outcome], bytes, int]:
    """Some steps: their outcomes, all weights, and in how many passes."""
    task = open_task(recipe, root / "run", CPU, lambda function: function())
    passes = 0

    def counted(model: nn.Module, batch: Any, step: int) -> Tensor:
        nonlocal passes
        passes += 1
        return task.loss(model, batch, step)

    engine = ContractEngine(
        task.model,
        parameter_groups(task.model, recipe.model, 0.1),
        ContractSettings(0, SHARDS, True, (0.9, 0.99), 1e-8, 1.0, bucket=1 << 16, at_once=at_once),
        world=World(0, 1, 0, CPU),
        micro_batch=task.micro_batch,
        joined=task.joined,
        loss=counted,
        clock=PhaseClock(),
    )
    task.model.train()
    outcomes = [engine.step(step, 1e-2) for step in range(STEPS)]
    weights = (one.detach().numpy().tobytes() for one in task.model.parameters())
    return outcomes, b"".join(weights), passes


@pytest.mark.parametrize(
    ("made", "model"),
    [
        (MADE["classifier"], {"freeze": {"embeddings": False}}),
        (MADE["classifier"], {}),
        (MADE["llama"], {"language_model": {"tie_embeddings": False}}),
        (of_documents, {}),
    ],
    ids=["classifier", "frozen", "untied", "documents"],
)
def test_any_number_of_shards_at_once_gives_the_same_bits(
    made: Callable[[Path], Path], model: dict[str, Any], tmp_path: Path
) -> None:
    fix_arithmetic(2, portable=True)
    recipe = made(tmp_path)
    if "language_model" in model:
        given = yaml.safe_load(recipe.read_text())["model"]["language_model"]
        model = {"language_model": {**given, **model["language_model"]}}
    settled = changed(
        recipe,
        {"model": model, "train": {"shards": SHARDS, "arithmetic": "portable"}},
    )
    found = [steps(settled, tmp_path, at_once) for at_once in AT_ONCE]
    assert len({weights for _, weights, _ in found}) == 1
    assert all(outcomes == found[0][0] for outcomes, _, _ in found)
    passes = [number for _, _, number in found]
    assert passes[0] == STEPS * SHARDS
    assert passes[-1] == STEPS
    assert passes == sorted(passes, reverse=True)
    assert len(set(passes)) > 2


@pytest.mark.parametrize("name", ["embeddings", "llama"])
def test_what_cannot_be_computed_together_is_computed_alone(name: str, tmp_path: Path) -> None:
    """Texts that are told from each other, and weights that are used twice."""
    fix_arithmetic(2, portable=True)
    settled = changed(MADE[name](tmp_path), {"train": {"shards": SHARDS, "arithmetic": "portable"}})
    assert steps(settled, tmp_path, 1000)[2] == STEPS * SHARDS
