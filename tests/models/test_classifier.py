"""The classifier: any encoder of the BERT family, any pooling, and padding that never counts."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import AutoConfig

from retort.models.backbones import encoder_of
from retort.models.classifier import ClassificationHead, TextClassifier
from retort.models.config import HeadConfig
from retort.models.determinism import fix_arithmetic

SIZES = {
    "vocab_size": 40,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 34,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "bert": SIZES,
    "distilbert": {
        "vocab_size": 40,
        "dim": 32,
        "n_layers": 2,
        "n_heads": 2,
        "hidden_dim": 48,
        "max_position_embeddings": 34,
    },
    "roberta": SIZES,
    "electra": SIZES | {"embedding_size": 16},
    "deberta-v2": SIZES
    | {"relative_attention": True, "position_biased_input": False, "pos_att_type": "p2c|c2p"},
    "mpnet": SIZES,
}
POOLINGS = ("cls", "mean", "max", "attention")


@pytest.fixture(autouse=True)
def arithmetic() -> None:
    fix_arithmetic(1)


def classifier(family: str, seed: int = 0, **head: object) -> TextClassifier:
    torch.manual_seed(5)
    backbone = encoder_of(AutoConfig.for_model(family, **FAMILIES[family]))
    model = TextClassifier(backbone, HeadConfig.model_validate(head), 3)
    model.head.draw(seed, 0.02)
    return model


def texts(lengths: tuple[int, ...] = (9, 4, 1), width: int = 9) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(5, 40, (len(lengths), width), generator=generator)
    mask = (torch.arange(width) < torch.tensor(lengths)[:, None]).long()
    return ids.masked_fill(mask == 0, 1), mask


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_weight_of_every_family_has_a_gradient(family: str, pooling: str) -> None:
    model = classifier(family, pooling=pooling).train()
    logits = model(*texts())
    assert logits.shape == (3, 3)
    assert logits.dtype == torch.float32
    cross_entropy(logits, torch.tensor([0, 1, 2])).backward()  # type: ignore[no-untyped-call]
    without = [name for name, weight in model.named_parameters() if weight.grad is None]
    assert without == []


@pytest.mark.parametrize("family", FAMILIES)
def test_all_state_is_weights_by_name(family: str) -> None:
    model = classifier(family)
    assert list(model.state_dict()) == [name for name, _ in model.named_parameters()]


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("family", FAMILIES)
def test_padding_does_not_count(family: str, pooling: str) -> None:
    model = classifier(family, pooling=pooling).eval()
    ids, mask = texts()
    with torch.inference_mode():
        padded = model(ids, mask)[1]
        bare = model(ids[1:2, :4], mask[1:2, :4])[0]
    assert torch.allclose(padded, bare, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_in_bfloat16_logits_are_float32_and_near(family: str) -> None:
    model = classifier(family, pooling="attention").eval()
    exact = model(*texts())
    with torch.autocast("cpu", torch.bfloat16):
        rough = model(*texts())
    assert rough.dtype == torch.float32
    assert not torch.equal(rough, exact)
    assert torch.allclose(rough, exact, atol=0.03)
    rough.sum().backward()
    assert all(weight.grad is not None for weight in model.parameters())
    assert all(weight.dtype == torch.float32 for weight in model.parameters())


@pytest.mark.parametrize("pooling", POOLINGS)
def test_weights_may_be_bfloat16_themselves(pooling: str) -> None:
    model = classifier("bert", pooling=pooling).eval()
    exact = model(*texts())
    rough = model.bfloat16()(*texts())
    assert rough.dtype == torch.float32
    assert torch.allclose(rough, exact, atol=0.03)


def pooled(pooling: str, hidden: Tensor, real: Tensor) -> list[float]:
    head = ClassificationHead(2, HeadConfig.model_validate({"pooling": pooling}), 2)
    if head.query is not None:
        with torch.no_grad():
            head.query.weight.copy_(torch.tensor([[0.0, torch.log(torch.tensor(3.0)).item()]]))
    found: list[float] = head.pool(hidden, real)[0].tolist()
    return found


def test_each_pooling_is_what_its_name_says() -> None:
    hidden = torch.tensor([[[1.0, 0.0], [5.0, 1.0], [90.0, 90.0]]])
    real = torch.tensor([[True, True, False]])
    assert pooled("cls", hidden, real) == [1.0, 0.0]
    assert pooled("mean", hidden, real) == [3.0, 0.5]
    assert pooled("max", hidden, real) == [5.0, 1.0]
    # Scores 0 and log 3: weights 1/4 and 3/4.
    assert pooled("attention", hidden, real) == pytest.approx([4.0, 0.75])


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_text_without_a_token_has_finite_logits(pooling: str) -> None:
    head = ClassificationHead(2, HeadConfig.model_validate({"pooling": pooling}), 2).eval()
    nothing = torch.zeros((1, 3), dtype=torch.bool)
    assert head(torch.ones((1, 3, 2)), nothing).isfinite().all()


def test_the_head_has_what_the_recipe_says() -> None:
    names = {name for name, _ in classifier("bert").head.named_parameters()}
    assert names == {"norm.weight", "norm.bias", "classify.weight", "classify.bias"}
    bare = classifier("bert", layer_norm=False, pooling="attention").head
    assert {name for name, _ in bare.named_parameters()} == {
        "query.weight",
        "classify.weight",
        "classify.bias",
    }
    plain = classifier("bert", dropout=0.0).train()
    plain.backbone.train(False)
    assert torch.equal(plain(*texts()), plain(*texts()))
    dropped = classifier("bert", dropout=0.5).train()
    dropped.backbone.train(False)
    assert not torch.equal(dropped(*texts()), dropped(*texts()))


def test_the_head_follows_its_seed_and_draws_nothing_else() -> None:
    first = classifier("bert", 1).head.state_dict()
    torch.manual_seed(8)
    expected = torch.rand(4)
    torch.manual_seed(8)
    head = ClassificationHead(32, HeadConfig(), 3)
    torch.manual_seed(8)
    head.draw(1, 0.02)
    assert torch.equal(torch.rand(4), expected)
    for name, tensor in head.state_dict().items():
        assert torch.equal(tensor, first[name]), name
    head.draw(2, 0.02)
    assert not torch.equal(head.classify.weight, first["classify.weight"])
