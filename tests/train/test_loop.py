"""The loop: it learns, and each step is a function of weights, seed and number."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from retort.core.errors import RetortError
from retort.data.config import DataConfig
from retort.data.documents import Document
from retort.data.readers import ClassificationReader, Share, TextBatch
from retort.data.store import TokenStore
from retort.data.tokenise import Tokeniser
from retort.models.config import ModelConfig, WeightsConfig
from retort.models.determinism import fix_arithmetic
from retort.models.predict import logits_of_all
from retort.models.weights import build_classifier, find_weights
from retort.train.loop import Step, train
from retort.train.recipe import OptimizerConfig, TrainConfig, TrainingRecipe
from tests.tiny import TOPICS, write_weights
from tests.tiny_store import write_tiny_store

DOCUMENTS = [
    Document(f"the {word} said {number}", label, "held_out" if number == "4" else "train")
    for label, words in TOPICS.items()
    for word in words
    for number in "01234"
]
LEARNED = sum(document.part == "train" for document in DOCUMENTS)
LENGTH = 8


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """weights/ and tokens/."""
    fix_arithmetic(1)
    root = tmp_path_factory.mktemp("loop")
    tokenizer = (write_weights(root / "weights") / "tokenizer.json").read_bytes()
    write_tiny_store(root / "tokens", DOCUMENTS, tokenizer=tokenizer)
    return root


def recipe(directory: Path, seed: int = 0, steps: int = 12, lr: float = 1e-2) -> TrainingRecipe:
    return TrainingRecipe(
        data=DataConfig(source="token_store", store=directory / "tokens", max_tokens=LENGTH),
        model=ModelConfig(weights=WeightsConfig(directory=directory / "weights")),
        optimizer=OptimizerConfig(lr=lr),
        train=TrainConfig(seed=seed, steps=steps, batch=8),
    )


def start(config: TrainingRecipe) -> tuple[PreTrainedModel, ClassificationReader]:
    weights = find_weights(config.model.weights)
    tokenise = Tokeniser.from_file(weights.directory / "tokenizer.json", LENGTH)
    model = build_classifier(weights, ["sport", "tech"], tokenise, 0)
    assert config.data.store is not None
    store = TokenStore.open(config.data.store, tokenise.definition)
    share = Share(config.train.batch)
    reader = ClassificationReader(
        store.part("train"), store.facts.special, (LENGTH,), config.train.seed, share
    )
    return model, reader


def run(config: TrainingRecipe) -> tuple[list[Step], PreTrainedModel]:
    model, reader = start(config)
    return list(train(model, reader.batch, config)), model


def test_it_learns(directory: Path) -> None:
    steps, model = run(recipe(directory, steps=60))
    assert steps[0].loss > 0.5
    assert steps[-1].loss < 0.1
    everything = start(recipe(directory))[1].texts(np.arange(LEARNED))
    tensors = torch.from_numpy(everything.ids), torch.from_numpy(everything.mask)
    found = logits_of_all(model, [tensors]).argmax(dim=1)
    assert found.tolist() == everything.labels.tolist()
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
    model, reader = start(config)
    steps = []
    for step in train(model, reader.batch, config):
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
    model, reader = start(config)
    with torch.no_grad():
        next(model.parameters()).fill_(float("nan"))
    with pytest.raises(RetortError, match=r"the loss of step 1 is nan; lower optimizer\.lr"):
        list(train(model, reader.batch, config))


def test_a_step_asks_for_its_batch_and_no_other(directory: Path) -> None:
    config = recipe(directory)
    model, reader = start(config)
    asked: list[int] = []

    def batch(step: int) -> TextBatch:
        asked.append(step)
        return reader.batch(step)

    for step in train(model, batch, config):
        assert asked == list(range(step.number))
