"""Causal language models, small and from scratch."""

import math

import torch
from torch import Tensor, nn

from retort.core.errors import ConfigError
from retort.models.arithmetic import Portable, arithmetic_of, drawn, portable_decoder
from retort.models.backbones import Backbone, decoder_of
from retort.models.config import ArithmeticName, LanguageModelConfig
from retort.models.determinism import seed_from
from retort.models.packed.architecture import Architecture, architecture_of
from retort.models.packed.decoders import PackedGPT2, PackedLlama
from retort.models.packed.sequences import Sequences


class LanguageModel(nn.Module):
    """A decoder that reads whole blocks: no cache of keys and values, no padding.

    Attributes:
        portable: how it is computed by portable kernels; None: by PyTorch.
        boundary: the token that a document begins with, where tokens see no other document; None: they see their block.
    """

    def __init__(
        self,
        decoder: Backbone,
        arithmetic: ArithmeticName = "native",
        boundary: int | None = None,
    ) -> None:
        """
        Raises:
            ConfigError: there is no portable arithmetic for this decoder, or documents are to be told apart without it.
        """
        super().__init__()
        if boundary is not None and arithmetic != "portable":
            raise ConfigError(
                "model.language_model.attention: document is for portable arithmetic, and this run computes in native"
            )
        self.boundary = boundary
        self.portable: Portable[PackedLlama | PackedGPT2] | None = (
            portable_decoder(decoder.config) if arithmetic == "portable" else None
        )
        self.decoder = decoder

    def forward(self, ids: Tensor) -> Tensor:
        """Scores of the token that follows each token, float32, [blocks, tokens, vocabulary].

        Args:
            ids: int64, [blocks, tokens]; no more tokens than the model's context.
        """
        if self.portable is not None:
            sequences, first = self._sequences(ids)
            weights = self.portable.weights(self.decoder)
            how = self.portable.how(self).of_parts(first)
            scores = self.portable.form(weights, sequences, how)
            return scores.view(*ids.shape, -1)
        logits: Tensor = self.decoder(input_ids=ids, use_cache=False).logits
        return logits.float()

    def _sequences(self, ids: Tensor) -> tuple[Sequences, Tensor]:
        """What sees each other, and which of these each block begins with and the last ends before."""
        blocks, flat = torch.arange(len(ids) + 1) * ids.shape[1], ids.reshape(-1)
        if self.boundary is None:
            return Sequences(flat, blocks), torch.arange(len(blocks))
        begins = flat == self.boundary
        begins[blocks[:-1]] = True
        offsets = torch.cat([begins.nonzero()[:, 0], blocks[-1:]])
        return Sequences(flat, offsets), torch.searchsorted(offsets, blocks)


def build_language_model(
    config: LanguageModelConfig,
    vocabulary_size: int,
    seed: int,
    arithmetic: ArithmeticName = "native",
    boundary: int | None = None,
) -> LanguageModel:
    """A language model whose weights are drawn from `seed`; no other random number is touched.

    Args:
        vocabulary_size: number of tokens of the token store's tokenizer.
        boundary: the token that its documents begin with.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_from(seed, "weights"))
        decoder = decoder_of(_architecture(config, vocabulary_size), arithmetic)
    alone = config.attention == "document"
    model = LanguageModel(decoder, arithmetic, boundary if alone else None)
    if arithmetic == "portable":
        _draw(model, seed)
    return model


@torch.no_grad()
def _draw(model: LanguageModel, seed: int) -> None:
    """Draw the weights anew, each a function of seed and name: normal matrices, zero biases, norms at identity.

    What adds to the residuals of GPT-2 is smaller by the root of how often that is (Radford and others, 2019).
    """
    config = model.decoder.config
    added = 1 / math.sqrt(2 * config.num_hidden_layers)
    for name, weight in model.decoder.named_parameters():
        if weight.ndim > 1:
            share = added if name.endswith("c_proj.weight") else 1.0
            deviation = config.initializer_range * share
            weight.copy_(drawn(weight.shape, deviation, "weights", seed, name))
        else:
            weight.fill_(0.0 if name.endswith("bias") else 1.0)


def token_losses(model: nn.Module, ids: Tensor) -> Tensor:
    """Negative log-likelihood in nats of each next token, float32, [blocks, tokens].

    Args:
        model: a `LanguageModel`, or what wraps one.
        ids: int64, [blocks, tokens + 1]; the targets are the inputs, one place further on.
    """
    logits, targets = model(ids[:, :-1]), ids[:, 1:]
    losses = arithmetic_of(model).token_losses(logits.flatten(0, 1), targets.flatten())
    return losses.view(targets.shape)


def _architecture(config: LanguageModelConfig, vocabulary_size: int) -> Architecture:
    # No beginning and no end: which token bounds documents is the token store's affair.
    common = {
        "vocab_size": vocabulary_size,
        "tie_word_embeddings": config.tie_embeddings,
        "bos_token_id": None,
        "eos_token_id": None,
    }
    if config.family == "gpt2":
        return architecture_of(
            {
                "model_type": "gpt2",
                **common,
                "n_positions": config.context,
                "n_embd": config.hidden,
                "n_layer": config.layers,
                "n_head": config.heads,
                "n_inner": config.feed_forward,
                "embd_pdrop": config.dropout,
                "attn_pdrop": config.dropout,
                "resid_pdrop": config.dropout,
            }
        )
    return architecture_of(
        {
            "model_type": "llama",
            **common,
            "max_position_embeddings": config.context,
            "hidden_size": config.hidden,
            "num_hidden_layers": config.layers,
            "num_attention_heads": config.heads,
            "num_key_value_heads": config.kv_heads or config.heads,
            "intermediate_size": config.feed_forward,
            "attention_dropout": config.dropout,
        }
    )
