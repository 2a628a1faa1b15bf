"""A language model from scratch by the loop that nanoGPT has made common: random blocks, no shards, no checkpoints.

Karpathy, nanoGPT, 2022. The model is transformers' own of the recipe, and its attention PyTorch's fused one.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from torch.nn.utils import clip_grad_norm_
from torch.optim import AdamW

from benchmarks.train.workload import Measured, StepTimes, digest_of
from retort.core.config import find_recipe, load_recipe
from retort.models.language_model import LanguageModel
from retort.train.recipe import TrainingRecipe, recipes, with_arithmetic
from retort.train.tasks.open import open_task


def train(recipe: TrainingRecipe, scratch: Path, device: str = "cpu") -> Measured:
    """Train and measure.

    Args:
        scratch: where the tokens go.
    """
    given = recipe.train
    torch.set_num_threads(given.threads)
    task = open_task(recipe, scratch, torch.device(device), lambda function: function())
    model, length = task.model, recipe.data.max_tokens
    assert isinstance(model, LanguageModel)
    stream = torch.from_numpy(
        np.concatenate([shard.slots for shard in task.store.part("train").shards]).astype(np.int64)
    )
    weights = list(model.parameters())
    groups: list[dict[str, Any]] = [
        {"params": [one for one in weights if one.ndim > 1]},
        {"params": [one for one in weights if one.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = AdamW(
        groups,
        lr=recipe.optimizer.lr,
        betas=recipe.optimizer.betas,
        weight_decay=recipe.optimizer.weight_decay,
        fused=True,
    )
    torch.manual_seed(given.seed)
    model.train()
    times = StepTimes(device)
    for _ in range(given.steps):
        starts = torch.randint(len(stream) - length, (given.batch,))
        blocks = torch.stack([stream[start : start + length + 1] for start in starts.tolist()])
        blocks = blocks.to(device)
        with torch.autocast(device, torch.bfloat16, enabled=given.precision == "bfloat16"):
            scores = model(blocks[:, :-1])
            loss = cross_entropy(scores.flatten(0, 1), blocks[:, 1:].flatten())
        loss.backward()  # type: ignore[no-untyped-call]
        clip_grad_norm_(weights, recipe.optimizer.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        times.step()
    return Measured(times.seconds, given.batch, digest=digest_of(model))


def main() -> None:
    """One run of a recipe."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", action="append", default=[], help="KEY=VALUE of the recipe")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("recipe", help="its name, or its file")
    parser.add_argument("scratch", type=Path)
    options = parser.parse_args()
    file = find_recipe(recipes(), options.recipe, Path.cwd())
    recipe = load_recipe(TrainingRecipe, file, options.set, Path.cwd()).config
    measured = train(with_arithmetic(recipe, "native"), options.scratch, options.device)
    print(json.dumps(measured.to_json()))


if __name__ == "__main__":
    main()
