"""What a task computes of a model's answers: portable arithmetic agrees with PyTorch's, in values and gradients."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import BertConfig, BertModel, GPT2Config, LlamaConfig

from retort.core.errors import ConfigError
from retort.models.arithmetic import (
    NATIVE,
    PORTABLE,
    Arithmetic,
    arithmetic_of,
    drawn,
    portable_decoder,
    portable_encoder,
)
from retort.models.classifier import TextClassifier
from retort.models.config import HeadConfig, LanguageModelConfig
from retort.models.embeddings import TextEmbedder
from retort.models.language_model import build_language_model, token_losses
from retort.models.packed.passes import EXACT, Pass, Places

LABELS = torch.tensor([2, 0, 1, 1, 2])
WEIGHTS = torch.tensor([0.5, 2.0, 1.0])


def logits(columns: int = 3) -> Tensor:
    return torch.randn(5, columns, generator=torch.Generator().manual_seed(1)).requires_grad_()


@pytest.mark.parametrize(
    "computed",
    [
        lambda by, x: by.classification_loss(x, LABELS, WEIGHTS, 0.1),
        lambda by, x: by.token_losses(x, LABELS) @ torch.arange(1.0, 6.0),
        lambda by, x: by.total(x * x),
        lambda by, x: by.total(x) + by.probabilities(x.detach())[:, 1].sum(),
        lambda by, x: by.total(by.unit(x) * torch.arange(15.0).view(5, 3)),
        lambda by, x: by.contrast(by.unit(x), by.unit(x + 1), 0.1),
    ],
)
def test_values_and_gradients_are_those_of_pytorch(
    computed: Callable[[Arithmetic, Tensor], Tensor],
) -> None:
    found = []
    for by in (NATIVE, PORTABLE):
        x = logits()
        value = computed(by, x)
        value.backward()  # type: ignore[no-untyped-call]
        found.append((value.detach(), x.grad))
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-5)


def test_a_vector_of_zeros_stays_one_with_a_gradient_that_is_finite() -> None:
    x = torch.zeros(1, 4, requires_grad=True)
    units = PORTABLE.unit(x)
    units.sum().backward()  # type: ignore[no-untyped-call]
    assert not units.any()
    assert x.grad is not None
    assert bool(x.grad.isfinite().all())


def a_backbone() -> BertModel:
    sizes: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    torch.manual_seed(3)
    return BertModel(BertConfig(vocab_size=50, intermediate_size=48, **sizes))


def texts() -> tuple[Tensor, Tensor]:
    ids = torch.randint(1, 50, (3, 9), generator=torch.Generator().manual_seed(2))
    mask = (torch.arange(9) < torch.tensor([9, 4, 7])[:, None]).long()
    return ids * mask, mask


@pytest.mark.parametrize("of", ["classifier", "embedder"])
def test_a_portable_model_answers_as_a_native_one_and_in_training_follows_its_place(
    of: str,
) -> None:
    head = HeadConfig.model_validate({"pooling": "mean", "dropout": 0.3})

    def build(arithmetic: str) -> TextClassifier:
        backbone = a_backbone()
        if of == "classifier":
            model = TextClassifier(backbone, head, 3, arithmetic=arithmetic)  # type: ignore[arg-type]
        else:
            model = TextEmbedder(backbone, head, arithmetic)  # type: ignore[arg-type]
        model.head.draw(5, 0.1)
        return model.eval()

    native, portable = build("native"), build("portable")
    assert (arithmetic_of(native), arithmetic_of(portable)) == (NATIVE, PORTABLE)
    assert portable.portable is not None
    with torch.no_grad():
        expected, found = native(*texts()), portable(*texts())
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        portable.portable.training = Pass(Places(0, 1, range(2, 3)))
        assert torch.equal(portable(*texts()), found)  # in evaluation mode it is nowhere
        portable.train()
        first = portable(*texts())
        assert torch.equal(portable(*texts()), first)
        portable.portable.training = Pass(Places(0, 1, range(3, 4)))
        assert not torch.equal(portable(*texts()), first)
        portable.portable.training = EXACT
        if of == "classifier":
            assert torch.equal(portable(*texts()), found)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_portable_language_model_is_drawn_by_names_and_loses_as_a_native_one(family: str) -> None:
    sizes = {"family": family, "hidden": 32, "layers": 2, "heads": 4, "context": 16}
    config = LanguageModelConfig.model_validate(sizes)
    portable = build_language_model(config, 40, 7, "portable").eval()
    native = build_language_model(config, 40, 8).eval()
    native.load_state_dict(portable.state_dict())
    ids = torch.randint(0, 40, (2, 11), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        expected, found = token_losses(native, ids), token_losses(portable, ids)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    again = build_language_model(config, 40, 7, "portable").state_dict()
    assert all(torch.equal(values, again[name]) for name, values in portable.state_dict().items())
    other = build_language_model(config, 40, 9, "portable").state_dict()
    drawn_anew = [name for name, values in again.items() if not torch.equal(values, other[name])]
    assert all(again[name].ndim > 1 for name in drawn_anew)
    for name in drawn_anew:
        share = 0.5 if name.endswith("c_proj.weight") else 1.0
        assert float(again[name].std()) == pytest.approx(0.02 * share, rel=0.15)


def test_what_is_drawn_follows_from_the_place() -> None:
    shape = torch.Size([3, 5])
    assert torch.equal(drawn(shape, 0.5, "head", 1, "a"), drawn(shape, 0.5, "head", 1, "a"))
    assert not torch.equal(drawn(shape, 0.5, "head", 1, "a"), drawn(shape, 0.5, "head", 1, "b"))


def test_an_architecture_without_a_packed_form_is_refused_by_name() -> None:
    with pytest.raises(
        ConfigError, match=r"portable is not for a model of type bert.*write native"
    ):
        portable_encoder(BertConfig(hidden_act="tanh"))
    with pytest.raises(ConfigError, match="of type llama"):
        portable_encoder(LlamaConfig())
    with pytest.raises(ConfigError, match="of type bert"):
        portable_decoder(BertConfig())
    assert portable_decoder(GPT2Config()).form.layers == 12
