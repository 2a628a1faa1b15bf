"""Causal language models, small and from scratch."""

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    LlamaConfig,
    PretrainedConfig,
    PreTrainedModel,
)

from retort.models.config import LanguageModelConfig
from retort.models.determinism import seed_from


class LanguageModel(nn.Module):
    """A decoder that reads whole blocks: no cache of keys and values, no padding."""

    def __init__(self, decoder: PreTrainedModel) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, ids: Tensor) -> Tensor:
        """Scores of the token that follows each token, float32, [blocks, tokens, vocabulary].

        Args:
            ids: int64, [blocks, tokens]; no more tokens than the model's context.
        """
        logits: Tensor = self.decoder(input_ids=ids, use_cache=False).logits
        return logits.float()


def build_language_model(
    config: LanguageModelConfig, vocabulary_size: int, seed: int
) -> LanguageModel:
    """A language model whose weights are drawn from `seed`; no other random number is touched.

    Args:
        vocabulary_size: number of tokens of the token store's tokenizer.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_from(seed, "weights"))
        return language_model_of(_architecture(config, vocabulary_size))


def language_model_of(architecture: PretrainedConfig) -> LanguageModel:
    """A language model in float32 with weights drawn at random.

    Raises:
        ValueError: the architecture is not one of a language model.
    """
    decoder = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
        architecture, dtype=torch.float32
    )
    assert isinstance(decoder, PreTrainedModel)
    return LanguageModel(decoder)


def token_losses(model: nn.Module, ids: Tensor) -> Tensor:
    """Negative log-likelihood in nats of each next token, float32, [blocks, tokens].

    Args:
        model: a `LanguageModel`, or what wraps one.
        ids: int64, [blocks, tokens + 1]; the targets are the inputs, one place further on.
    """
    logits, targets = model(ids[:, :-1]), ids[:, 1:]
    return cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none").view(
        targets.shape
    )


def _architecture(config: LanguageModelConfig, vocabulary_size: int) -> PretrainedConfig:
    # No beginning and no end: which token bounds documents is the token store's affair.
    if config.family == "gpt2":
        return GPT2Config(
            vocab_size=vocabulary_size,
            n_positions=config.context,
            n_embd=config.hidden,
            n_layer=config.layers,
            n_head=config.heads,
            n_inner=config.feed_forward,
            embd_pdrop=config.dropout,
            attn_pdrop=config.dropout,
            resid_pdrop=config.dropout,
            tie_word_embeddings=config.tie_embeddings,
            bos_token_id=None,
            eos_token_id=None,
        )
    return LlamaConfig(
        vocab_size=vocabulary_size,
        max_position_embeddings=config.context,
        hidden_size=config.hidden,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.kv_heads or config.heads,
        intermediate_size=config.feed_forward,
        attention_dropout=config.dropout,
        tie_word_embeddings=config.tie_embeddings,
        bos_token_id=None,
        eos_token_id=None,
    )
