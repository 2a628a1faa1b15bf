"""The task that a recipe describes."""

from collections.abc import Callable
from pathlib import Path

import torch

from retort.data.preparation.recipe import read_tokenizer
from retort.data.tokenizers.fixed_length import Tokeniser
from retort.models.weights import TOKENIZER, find_weights
from retort.train.recipe import TrainingRecipe
from retort.train.tasks.classification import Classification
from retort.train.tasks.language_modelling import LanguageModelling
from retort.train.tasks.task import Task
from retort.train.tasks.tokens import make_tokens, open_tokens

TOKENS = "tokens"


def open_task(
    recipe: TrainingRecipe,
    run: Path,
    device: torch.device,
    once: Callable[[Callable[[], None]], None],
) -> Task:
    """Make or find tokens and weights, and build the model.

    Args:
        run: the run's directory, where the tokens go.
        once: has one rank call a function while the others wait.
    Raises:
        UserError: a part of the recipe, or what it names, is not usable.
    """
    target, data, model = run / TOKENS, recipe.data, recipe.model
    if model.language_model is not None:
        wanted = recipe.tokenizer
        if wanted is not None:
            given, special = wanted.train or read_tokenizer(wanted), wanted.special_in_text
            once(lambda: make_tokens(data, given, target, special))
        store = open_tokens(data, target, tokenizer=None, labelled=False)
        return LanguageModelling(recipe, model.language_model, store, device)
    assert model.weights is not None
    weights = find_weights(model.weights)
    tokenise = Tokeniser.from_file(weights.directory / TOKENIZER, data.max_tokens)
    once(lambda: make_tokens(data, tokenise.definition, target))
    store = open_tokens(data, target, tokenizer=tokenise.definition, labelled=True)
    tokenise = tokenise.reading(store.facts.special_in_text)
    return Classification(recipe, store, weights, tokenise, device)
