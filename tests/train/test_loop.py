"""The loop: it learns, and each step is a function of weights, seed and number."""

from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from retort.core.errors import RetortError
from retort.data.config import DataConfig
from retort.data.tokenise import Tokeniser, Tokens
from retort.models.config import ModelConfig, WeightsConfig
from retort.models.determinism import fix_arithmetic
from retort.models.predict import logits_of_all
from retort.models.weights import build_classifier, find_weights
from retort.train.loop import Step, train
from retort.train.recipe import OptimizerConfig, TrainConfig, TrainingRecipe
from tests.tiny import TOPICS, write_weights

TEXTS = [
    f"the {word} said {number}" for words in TOPICS.values() for word in words for number in "0123"
]
TARGETS = torch.tensor([number for number in (0, 1) for _ in range(24)])


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    fix_arithmetic(1)
    return write_weights(tmp_path_factory.mktemp("loop") / "weights")


def recipe(directory: Path, seed: int = 0, steps: int = 12, lr: float = 1e-2) -> TrainingRecipe:
    return TrainingRecipe(
        data=DataConfig(source="bbc_news", max_tokens=8),
        model=ModelConfig(weights=WeightsConfig(directory=directory)),
        optimizer=OptimizerConfig(lr=lr),
        train=TrainConfig(seed=seed, steps=steps, batch=8),
    )


def start(config: TrainingRecipe) -> tuple[PreTrainedModel, Tokens]:
    weights = find_weights(config.model.weights)
    tokenise = Tokeniser.from_file(weights.directory / "tokenizer.json", 8)
    return build_classifier(weights, ["sport", "tech"], tokenise, 0), tokenise.encode(TEXTS)


def run(config: TrainingRecipe) -> tuple[list[Step], PreTrainedModel]:
    model, tokens = start(config)
    return list(train(model, tokens, TARGETS, config)), model


def test_it_learns(directory: Path) -> None:
    steps, model = run(recipe(directory, steps=60))
    assert steps[0].loss > 0.5
    assert steps[-1].loss < 0.1
    tokens = start(recipe(directory))[1]
    assert (logits_of_all(model, tokens.ids, tokens.mask).argmax(dim=1) == TARGETS).all()
    assert not model.training


def test_equal_seeds_give_equal_steps_and_weights_whatever_ran_before(directory: Path) -> None:
    first, one = run(recipe(directory))
    torch.manual_seed(99)
    torch.rand(5)
    second, other = run(recipe(directory))
    assert first == second
    states = one.state_dict(), other.state_dict()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert run(recipe(directory, seed=1))[0] != first


def test_what_the_caller_draws_between_steps_changes_nothing(directory: Path) -> None:
    config = recipe(directory)
    model, tokens = start(config)
    steps = []
    for step in train(model, tokens, TARGETS, config):
        torch.rand(step.number)
        steps.append(step)
    assert steps == run(config)[0]


def test_steps_are_numbered_and_follow_the_schedule(directory: Path) -> None:
    steps, _ = run(recipe(directory, steps=10))
    assert [step.number for step in steps] == list(range(1, 11))
    assert max(steps, key=lambda step: step.lr).number == 2
    assert all(step.gradient_norm > 0.0 for step in steps)


def test_a_loss_that_is_not_a_number_ends_the_run(directory: Path) -> None:
    config = recipe(directory)
    model, tokens = start(config)
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))
    with pytest.raises(RetortError, match=r"the loss of step 1 is nan; lower optimizer\.lr"):
        list(train(model, tokens, TARGETS, config))
