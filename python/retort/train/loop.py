"""The training loop."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch.nn.functional import cross_entropy
from torch.nn.utils import clip_grad_norm_
from torch.optim import AdamW
from transformers import PreTrainedModel

from retort.core.errors import RetortError
from retort.data.readers import TextBatch
from retort.models.determinism import seed_from
from retort.models.predict import logits
from retort.train.recipe import OptimizerConfig, TrainingRecipe
from retort.train.schedule import learning_rate


@dataclass(frozen=True)
class Step:
    """One optimiser step: its number from 1, and the gradient's norm before clipping."""

    number: int
    loss: float
    lr: float
    gradient_norm: float


def train(
    model: PreTrainedModel, batch_of: Callable[[int], TextBatch], recipe: TrainingRecipe
) -> Iterator[Step]:
    """Train `model` in place, one optimiser step each time the caller asks for the next.

    Every step is a function of the weights, the seed and its number alone: the documents of its
    batch, its dropout and its learning rate follow from these.

    Args:
        batch_of: gives the texts of a step, counted from 0; `ClassificationReader.batch` does.
    Raises:
        RetortError: the loss is no longer a finite number.
    """
    seed, steps = recipe.train.seed, recipe.train.steps
    optimizer = _optimizer(model, recipe.optimizer)
    model.train()
    for step in range(steps):
        batch = batch_of(step)
        ids, mask = torch.from_numpy(batch.ids), torch.from_numpy(batch.mask)
        lr = learning_rate(recipe.schedule, recipe.optimizer.lr, step, steps)
        for group in optimizer.param_groups:
            group["lr"] = lr
        torch.manual_seed(seed_from(seed, "dropout", step))

        loss = cross_entropy(logits(model, ids, mask), torch.from_numpy(batch.labels))
        if not loss.isfinite():
            raise RetortError(f"the loss of step {step + 1} is {loss.item()}; lower optimizer.lr")
        loss.backward()  # type: ignore[no-untyped-call]
        norm = clip_grad_norm_(model.parameters(), recipe.optimizer.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()

        yield Step(step + 1, loss.item(), lr, norm.item())
    model.eval()  # type: ignore[no-untyped-call]


def _optimizer(model: PreTrainedModel, config: OptimizerConfig) -> AdamW:
    matrices = [weight for weight in model.parameters() if weight.ndim > 1]
    vectors = [weight for weight in model.parameters() if weight.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return AdamW(groups, lr=config.lr, betas=config.betas, eps=config.eps)
