"""Parameter groups: each trained weight once, at its rate, and the rest untouched."""

import pytest
import torch
from torch import nn
from transformers import BertConfig, DistilBertConfig, ElectraConfig, PretrainedConfig

from retort.core.errors import ConfigError
from retort.models.backbones import encoder_of
from retort.models.classifier import TextClassifier
from retort.models.config import HeadConfig, LanguageModelConfig, ModelConfig
from retort.models.language_model import build_language_model
from retort.models.parameters import parameter_groups

BERT = BertConfig(
    vocab_size=20,
    hidden_size=8,
    num_hidden_layers=3,
    num_attention_heads=2,
    intermediate_size=8,
    max_position_embeddings=8,
)


def classifier(architecture: PretrainedConfig = BERT) -> TextClassifier:
    return TextClassifier(encoder_of(architecture), HeadConfig(pooling="attention"), 2)


def config(**changed: object) -> ModelConfig:
    return ModelConfig.model_validate({"weights": {"package": "some"}, **changed})


def scales(model: nn.Module, recipe: ModelConfig) -> dict[str, float]:
    """The share of the learning rate by name, of what is trained."""
    groups = parameter_groups(model, recipe, 0.01)
    return {name: group.lr_scale for group in groups for name in group.names}


def test_all_weights_are_in_one_group_once() -> None:
    model = classifier()
    groups = parameter_groups(model, config(), 0.01)
    assert [(group.lr_scale, group.weight_decay) for group in groups] == [(1.0, 0.01), (1.0, 0.0)]
    names = [name for group in groups for name in group.names]
    assert sorted(names) == sorted(name for name, _ in model.named_parameters())


def test_biases_and_normalisation_weights_do_not_decay() -> None:
    decayed, plain = parameter_groups(classifier(), config(), 0.01)
    assert all(name.endswith("bias") or "norm" in name.lower() for name in plain.names)
    assert not any(name.endswith("bias") or "norm" in name.lower() for name in decayed.names)
    assert {"head.query.weight", "head.classify.weight"} <= set(decayed.names)
    [alone] = parameter_groups(classifier(), config(), 0.0)
    assert len(alone.names) == len(decayed.names) + len(plain.names)


def test_the_rate_falls_from_the_head_to_the_embeddings() -> None:
    found = scales(classifier(), config(layer_decay=0.5))
    assert found["head.classify.weight"] == found["head.norm.bias"] == 1.0
    assert found["backbone.encoder.layer.2.output.dense.weight"] == 0.5
    assert found["backbone.encoder.layer.1.output.dense.bias"] == 0.25
    assert found["backbone.encoder.layer.0.output.dense.weight"] == 0.125
    assert found["backbone.embeddings.word_embeddings.weight"] == 0.0625
    rates = [group.lr_scale for group in parameter_groups(classifier(), config(layer_decay=0.5), 1)]
    assert rates == sorted(rates)


def test_what_is_frozen_is_in_no_group_and_has_no_gradient() -> None:
    model = classifier()
    recipe = config(freeze={"embeddings": True, "layers": 2})
    found = scales(model, recipe)
    kept = ("backbone.encoder.layer.2.", "head.")
    for name, weight in model.named_parameters():
        assert (name in found) == name.startswith(kept) == weight.requires_grad, name
    model(
        torch.ones((1, 4), dtype=torch.int64), torch.ones((1, 4), dtype=torch.int64)
    ).sum().backward()
    for name, weight in model.named_parameters():
        assert (weight.grad is not None) == name.startswith(kept), name
    assert len(scales(model, config())) == len(list(model.parameters())), "and is thawed again"


def test_all_layers_may_be_frozen_and_the_head_is_still_trained() -> None:
    found = scales(classifier(), config(freeze={"layers": 3}))
    assert not any(".layer." in name for name in found)
    assert {"head.classify.weight", "backbone.embeddings.LayerNorm.weight"} <= set(found)


@pytest.mark.parametrize(
    ("architecture", "layer", "outside"),
    [
        (
            DistilBertConfig(vocab_size=20, dim=8, n_layers=2, n_heads=2, hidden_dim=8),
            "backbone.transformer.layer.1.ffn.lin1.weight",
            "backbone.embeddings.position_embeddings.weight",
        ),
        (
            ElectraConfig(
                vocab_size=20,
                embedding_size=4,
                hidden_size=8,
                num_hidden_layers=2,
                num_attention_heads=2,
                intermediate_size=8,
            ),
            "backbone.encoder.layer.1.output.dense.weight",
            "backbone.embeddings_project.weight",
        ),
    ],
)
def test_layers_are_found_whatever_the_family_calls_them(
    architecture: PretrainedConfig, layer: str, outside: str
) -> None:
    found = scales(classifier(architecture), config(layer_decay=0.5))
    assert (found[layer], found[outside]) == (0.5, 0.125)


def test_more_layers_than_there_are_cannot_be_frozen() -> None:
    with pytest.raises(ConfigError, match=r"model\.freeze\.layers: 4 is more than the model's 3"):
        parameter_groups(classifier(), config(freeze={"layers": 4}), 0.01)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_language_model_has_two_groups_and_its_tied_matrix_once(family: str) -> None:
    sizes = {"family": family, "hidden": 8, "layers": 2, "heads": 2, "context": 8}
    recipe = ModelConfig.model_validate({"language_model": sizes})
    model = build_language_model(LanguageModelConfig.model_validate(sizes), 20, 0)
    decayed, plain = parameter_groups(model, recipe, 0.1)
    assert (decayed.weight_decay, plain.weight_decay) == (0.1, 0.0)
    names = [*decayed.names, *plain.names]
    assert len(names) == len(set(names)) == len(list(model.parameters()))
    weights = dict(model.named_parameters())
    assert all(weights[name].ndim == 1 for name in plain.names)
    assert not any("lm_head" in name for name in names)
