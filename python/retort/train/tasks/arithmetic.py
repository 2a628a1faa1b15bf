"""Which arithmetic a run has whose recipe leaves that open."""

from retort.core.config import Recipe
from retort.models.arithmetic import has_portable_form
from retort.models.config import ArithmeticName
from retort.models.weights import find_architecture
from retort.train.recipe import TrainingRecipe, with_arithmetic


def settled(
    recipe: Recipe[TrainingRecipe], before: TrainingRecipe | None, *, on_gpu: bool
) -> Recipe[TrainingRecipe]:
    """The recipe with `train.arithmetic`: as it says, or else as before, or else portable where that can be had.

    It has `data.grouping`, too: as it says, or else as before, or else what goes with the arithmetic.

    Args:
        before: what the run was begun with, if it goes on.
        on_gpu: whether the run computes on one.
    Raises:
        UserError: the weights that it names cannot be found or read.
    """
    config = recipe.config
    name = config.train.arithmetic
    if name is None:
        name = _chosen(config, on_gpu) if before is None else before.train.settled_arithmetic
    if config.data.grouping is None and before is not None:
        data = config.data.model_copy(update={"grouping": before.data.grouping})
        config = config.model_copy(update={"data": data})
    return Recipe(recipe.name, with_arithmetic(config, name))


def _chosen(recipe: TrainingRecipe, on_gpu: bool) -> ArithmeticName:
    portable = not on_gpu and recipe.backend == "contract" and _has_form(recipe)
    return "portable" if portable else "native"


def _has_form(recipe: TrainingRecipe) -> bool:
    weights = recipe.model.weights
    # A language model from scratch is of one of the families that have one.
    return weights is None or has_portable_form(find_architecture(weights))
