"""The task that a recipe describes."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from retort.data.preparation.recipe import read_tokenizer
from retort.data.store.store import TokenStore
from retort.data.tokenizers.text_encoder import TextEncoder
from retort.models.config import TaskName
from retort.models.weights import TOKENIZER, PretrainedWeights, find_weights
from retort.train.recipe import TrainingRecipe
from retort.train.tasks.classification import Classification
from retort.train.tasks.embeddings.task import Embeddings
from retort.train.tasks.language_modelling import LanguageModelling
from retort.train.tasks.task import Task
from retort.train.tasks.tokens import make_tokens, open_tokens

TOKENS = "tokens"
Once = Callable[[Callable[[], None]], None]
"""Has one rank call a function while the others wait."""
Opener = Callable[[TrainingRecipe, Path, torch.device, Once], Task]
TextTaskOf = Callable[
    [TrainingRecipe, TokenStore, PretrainedWeights, TextEncoder, torch.device], Task
]


def open_task(
    recipe: TrainingRecipe,
    run: Path,
    device: torch.device,
    once: Once,
) -> Task:
    """Make or find tokens and weights, and build the model.

    Args:
        run: the run's directory, where the tokens go.
    Raises:
        UserError: a part of the recipe, or what it names, is not usable.
    """
    return OPENED[recipe.model.task](recipe, run / TOKENS, device, once)


def _pretrained(task: TextTaskOf) -> Opener:
    """Opens a task whose model begins from pretrained weights, and so has their tokenizer."""

    def opened(recipe: TrainingRecipe, target: Path, device: torch.device, once: Once) -> Task:
        data = recipe.data
        assert recipe.model.weights is not None
        weights = find_weights(recipe.model.weights)
        tokenise = TextEncoder.from_file(weights.directory / TOKENIZER, data.max_tokens)
        once(lambda: make_tokens(data, tokenise.definition, target))
        store = open_tokens(data, target, tokenizer=tokenise.definition, labelled=True)
        reading = tokenise.reading(store.facts.special_in_text)
        return task(recipe, store, weights, reading, device)

    return opened


def _language_modelling(
    recipe: TrainingRecipe, target: Path, device: torch.device, once: Once
) -> LanguageModelling:
    data, wanted, config = recipe.data, recipe.tokenizer, recipe.model.language_model
    assert config is not None
    if wanted is not None:
        given, special = wanted.train or read_tokenizer(wanted), wanted.special_in_text
        once(lambda: make_tokens(data, given, target, special))
    store = open_tokens(data, target, tokenizer=None, labelled=False)
    return LanguageModelling(recipe, config, store, device)


OPENED: Mapping[TaskName, Opener] = {
    "classifier": _pretrained(Classification),
    "language_model": _language_modelling,
    "embeddings": _pretrained(Embeddings),
}
"""How each task of `retort.models.config.TASKS` is opened, given where its tokens go."""
