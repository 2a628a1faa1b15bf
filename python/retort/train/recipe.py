"""A recipe: everything that decides what a training run computes."""

from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Annotated, Literal

from pydantic import Field

from retort.core.config import Frozen, for_seal
from retort.core.digest import JSON
from retort.core.seal import Manifest
from retort.data.config import DataConfig
from retort.models.config import ModelConfig


class OptimizerConfig(Frozen):
    """AdamW (Loshchilov and Hutter, 2019). Biases and normalisation weights do not decay."""

    lr: float = Field(gt=0.0)
    weight_decay: float = Field(default=0.01, ge=0.0)
    betas: Annotated[tuple[float, float], Field(strict=False)] = (0.9, 0.999)
    eps: float = Field(default=1e-8, gt=0.0)
    max_grad_norm: float = Field(default=1.0, gt=0.0)


class ScheduleConfig(Frozen):
    """The learning rate over the run: a linear rise, then a fall to zero or none."""

    warmup: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Share of all steps in which the rate rises to optimizer.lr."""
    decay: Literal["linear", "cosine", "none"] = "linear"


class TrainConfig(Frozen):
    """How long, in what pieces, from which seed."""

    seed: int = Field(default=0, ge=0, lt=2**63)
    steps: int = Field(ge=1)
    batch: int = Field(ge=1)
    """Documents in each optimiser step."""
    threads: int = Field(default=2, ge=1, le=256)
    """CPU threads: sums are split among them, so another number gives other bits."""


class EvaluateConfig(Frozen):
    """What the run is held to."""

    min_accuracy: float = Field(default=0.0, ge=0.0, le=1.0)
    """Accuracy on held-out documents under which the run fails."""


class TrainingRecipe(Frozen):
    """A training run: same recipe, same inputs, same seal."""

    data: DataConfig
    model: ModelConfig
    optimizer: OptimizerConfig
    schedule: ScheduleConfig = ScheduleConfig()
    train: TrainConfig
    evaluate: EvaluateConfig = EvaluateConfig()


def sealed_configuration(recipe: TrainingRecipe, store: Manifest) -> dict[str, JSON]:
    """What a checkpoint's seal holds of its recipe: all but where the files lie.

    Of the documents it holds what their token store does, so that it makes no difference whether
    the store was made by this run or was there before.
    """
    documents = store.config.get("data")
    data = {
        **(documents if isinstance(documents, dict) else {}),
        "max_tokens": recipe.data.max_tokens,
    }
    return {**for_seal(recipe), "data": data}


def recipes() -> Traversable:
    """The directory of recipes that have names."""
    return files("retort.train") / "recipes"
