"""Language models: drawn from the seed, causal, and measured token by token."""

import math
from itertools import pairwise

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from retort.core.errors import ConfigError
from retort.models.config import LanguageModelConfig
from retort.models.determinism import fix_arithmetic
from retort.models.language_model import LanguageModel, build_language_model, token_losses
from retort.models.packed.passes import Pass, Places

VOCABULARY = 50
FAMILIES = ("llama", "gpt2")


@pytest.fixture(autouse=True)
def arithmetic() -> None:
    fix_arithmetic(1)


def config(family: str = "llama", **changed: object) -> LanguageModelConfig:
    values = {"family": family, "hidden": 32, "layers": 2, "heads": 4, "context": 16}
    return LanguageModelConfig.model_validate(values | changed)


def model(family: str, seed: int = 0, **changed: object) -> LanguageModel:
    return build_language_model(config(family, **changed), VOCABULARY, seed).eval()


def blocks(number: int = 3, tokens: int = 17) -> Tensor:
    return torch.randint(
        0, VOCABULARY, (number, tokens), generator=torch.Generator().manual_seed(2)
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_it_learns_a_block_by_heart(family: str) -> None:
    learner = build_language_model(config(family), VOCABULARY, 0).train()
    ids = blocks()
    optimizer = torch.optim.AdamW(learner.parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        loss = token_losses(learner, ids).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        assert all(weight.grad is not None for weight in learner.parameters())
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(math.log(VOCABULARY), rel=0.1)
    assert losses[-1] < 0.5


@pytest.mark.parametrize("family", FAMILIES)
def test_no_token_sees_what_follows_it(family: str) -> None:
    reader, ids = model(family), blocks()
    changed = ids.clone()
    changed[:, 9:] = (changed[:, 9:] + 1) % VOCABULARY
    before, after = reader(ids[:, :16]), reader(changed[:, :16])
    assert before.shape == (3, 16, VOCABULARY)
    assert torch.equal(before[:, :9], after[:, :9])
    assert not torch.equal(before[:, 9:], after[:, 9:])


@pytest.mark.parametrize("family", FAMILIES)
def test_token_losses_are_the_negative_log_probabilities_of_the_next_tokens(family: str) -> None:
    reader, ids = model(family), blocks()
    losses = token_losses(reader, ids)
    assert (losses.shape, losses.dtype) == ((3, 16), torch.float32)
    probabilities = reader(ids[:, :-1]).softmax(dim=2)
    for block in range(3):
        for place in (0, 7, 15):
            expected = -probabilities[block, place, ids[block, place + 1]].log()
            assert losses[block, place].item() == pytest.approx(expected.item(), abs=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_in_bfloat16_losses_are_float32_and_near(family: str) -> None:
    reader, ids = model(family), blocks()
    with torch.autocast("cpu", torch.bfloat16):
        rough = token_losses(reader, ids)
    assert rough.dtype == torch.float32
    assert not torch.equal(rough, token_losses(reader, ids))
    assert torch.allclose(rough, token_losses(reader, ids), atol=0.05)


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_follow_the_seed_and_no_other_number_is_drawn(family: str) -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    states = [model(family, seed).state_dict() for seed in (0, 0, 1)]
    assert torch.equal(torch.rand(4), expected)
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert any(not torch.equal(states[0][name], states[2][name]) for name in states[0])


@pytest.mark.parametrize("family", FAMILIES)
def test_embeddings_are_one_matrix_if_tied(family: str) -> None:
    tied, free = model(family), model(family, tie_embeddings=False)
    count = [sum(weight.numel() for weight in one.parameters()) for one in (tied, free)]
    assert count[1] - count[0] == VOCABULARY * 32
    assert len(tied.state_dict()) == len(free.state_dict()) == len(list(free.parameters()))


def test_sizes_are_those_of_the_recipe() -> None:
    llama = model("llama", kv_heads=2, intermediate=40).state_dict()
    assert llama["decoder.model.layers.1.self_attn.k_proj.weight"].shape == (16, 32)
    assert llama["decoder.model.layers.1.mlp.up_proj.weight"].shape == (40, 32)
    gpt2 = model("gpt2").state_dict()
    assert gpt2["decoder.transformer.h.1.mlp.c_fc.weight"].shape == (32, 128)
    assert gpt2["decoder.transformer.wpe.weight"].shape == (16, 32)


def test_the_feed_forward_width_has_a_default() -> None:
    assert config("gpt2", hidden=64).feed_forward == 256
    assert config("llama", hidden=768).feed_forward == 2048
    assert config("llama", hidden=512).feed_forward == 1408
    assert config("llama", intermediate=10).feed_forward == 10


def test_dropout_is_there_in_training_alone() -> None:
    for family in FAMILIES:
        dropping, ids = model(family, dropout=0.5), blocks()[:, :16]
        assert torch.equal(dropping(ids), dropping(ids))
        dropping.train()
        assert not torch.equal(dropping(ids), dropping(ids))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"heads": 5}, "heads 5 must divide hidden 32"),
        ({"kv_heads": 3}, "kv_heads 3 must divide heads 4"),
        ({"family": "gpt2", "kv_heads": 2}, "kv_heads is of family llama"),
        ({"heads": 32}, "make it even"),
        ({"dropout": 1.0}, "dropout"),
        ({"context": 0}, "context"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(changed: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        config(**changed)  # type: ignore[arg-type]


@pytest.mark.parametrize("family", FAMILIES)
def test_where_documents_are_told_apart_a_token_sees_its_own_alone(family: str) -> None:
    boundary = 49
    reader = build_language_model(
        *(config(family, attention="document"), VOCABULARY, 0, "portable"), boundary=boundary
    ).eval()
    ids = blocks(2, 16) % boundary
    ids[0, [4, 11]] = ids[1, [0, 9]] = boundary
    scores = reader(ids)
    for begin, end in ((0, 4), (4, 11), (11, 16)):
        assert torch.equal(reader(ids[:1, begin:end])[0], scores[0, begin:end]), "as if alone"
    assert torch.equal(reader(ids[1:, 9:])[0], scores[1, 9:])
    everything = build_language_model(config(family), VOCABULARY, 0, "portable", boundary).eval()
    assert torch.equal(everything(ids)[0, :4], scores[0, :4])
    assert not torch.equal(everything(ids)[0, 4:], scores[0, 4:])


def test_shards_whose_documents_are_told_apart_are_computed_together() -> None:
    """Their sequences are documents, and not blocks."""
    sizes = config(attention="document", dropout=0.2, tie_embeddings=False)
    ids = blocks(5, 17) % 49
    ids[ids % 7 == 0] = 49

    def losses(part: slice, places: Places) -> Tensor:
        learner = build_language_model(sizes, VOCABULARY, 0, "portable", 49).train()
        assert learner.portable is not None
        learner.portable.training = Pass(places)
        return token_losses(learner, ids[part])

    starts = torch.tensor([0, 2, 3, 5])
    whole = losses(slice(0, 5), Places(0, 1, range(3), starts))
    alone = [
        losses(slice(begin, end), Places(0, 1, range(shard, shard + 1)))
        for shard, (begin, end) in enumerate(pairwise(starts.tolist()))
    ]
    assert torch.equal(whole, torch.cat(alone))


def test_documents_are_told_apart_in_portable_arithmetic_alone() -> None:
    with pytest.raises(ConfigError, match=r"attention: document is for portable arithmetic"):
        build_language_model(config(attention="document"), VOCABULARY, 0, boundary=3)
