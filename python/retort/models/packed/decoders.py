"""Causal language models: LLaMA (Touvron and others, 2023) and GPT-2 (Radford and others, 2019)."""

from dataclasses import dataclass
from functools import cache

from torch import Tensor

from retort.kernels.embeddings import embedding
from retort.kernels.norms import rms_norm
from retort.kernels.products import linear, matmul
from retort.kernels.rotary import Tables, rotated, tables
from retort.models.packed.architecture import Architecture
from retort.models.packed.layers import (
    ACTIVATIONS,
    Heads,
    Weights,
    attend,
    dense,
    normed,
    refuse_longer,
)
from retort.models.packed.passes import EXACT, Pass, dropped_at
from retort.models.packed.sequences import Sequences

_EMBEDDINGS = -1
_tables = cache(tables)


@dataclass(frozen=True)
class PackedLlama:
    """LLaMA's forward pass."""

    layers: int
    heads: Heads
    activation: str
    epsilon: float
    positions: int
    base: float

    @classmethod
    def of(cls, config: Architecture) -> "PackedLlama | None":
        """The packed form of an architecture, or None if it has none here."""
        if config.model_type != "llama":
            return None
        rope = config.rope_parameters
        if rope["rope_type"] != "default" or config.hidden_act not in ACTIVATIONS:
            return None
        count = config.num_attention_heads
        width = getattr(config, "head_dim", None) or config.hidden_size // count
        dropout = config.attention_dropout
        return cls(
            layers=config.num_hidden_layers,
            heads=Heads(count, config.num_key_value_heads, width, causal=True, dropout=dropout),
            activation=config.hidden_act,
            epsilon=config.rms_norm_eps,
            positions=config.max_position_embeddings,
            base=float(rope["rope_theta"]),
        )

    def __call__(self, weights: Weights, sequences: Sequences, how: Pass = EXACT) -> Tensor:
        """Scores of the token that follows each token, [tokens, vocabulary].

        Args:
            weights: by transformers' names of the causal model.
        Raises:
            ValueError: a sequence is longer than the model's positions, or an id not one of its tokens.
        """
        refuse_longer(sequences.longest, self.positions)
        how = how.of_tokens(sequences.offsets)
        table = weights["model.embed_tokens.weight"]
        hidden = embedding(table, sequences.ids, how.shards)
        positions = sequences.positions
        turned = _tables(self.positions, self.heads.width // 2, self.base)
        for layer in range(self.layers):
            name = f"model.layers.{layer}"
            before = weights[f"{name}.input_layernorm.weight"]
            seen = rms_norm(hidden, before, self.epsilon, how.shards)
            parts = self._parts(weights, name, seen, (positions, turned), how)
            mixed = attend(parts, sequences.offsets, self.heads, how, layer)
            hidden = hidden + dense(weights, f"{name}.self_attn.o_proj", mixed, how)
            after = weights[f"{name}.post_attention_layernorm.weight"]
            seen = rms_norm(hidden, after, self.epsilon, how.shards)
            gate = ACTIVATIONS[self.activation](dense(weights, f"{name}.mlp.gate_proj", seen, how))
            inner = gate * dense(weights, f"{name}.mlp.up_proj", seen, how)
            hidden = hidden + dense(weights, f"{name}.mlp.down_proj", inner, how)
        hidden = rms_norm(hidden, weights["model.norm.weight"], self.epsilon, how.shards)
        head = weights.get("lm_head.weight", table)
        return linear(hidden, head, rounded=how.rounded, shards=how.shards)

    def _parts(
        self, weights: Weights, name: str, seen: Tensor, places: tuple[Tensor, Tables], how: Pass
    ) -> tuple[Tensor, Tensor, Tensor]:
        heads = {"q": self.heads.count, "k": self.heads.shared, "v": self.heads.shared}
        q, k, v = (
            dense(weights, f"{name}.self_attn.{one}_proj", seen, how).reshape(
                len(seen), count, self.heads.width
            )
            for one, count in heads.items()
        )
        return rotated(q, *places), rotated(k, *places), v


@dataclass(frozen=True)
class PackedGPT2:
    """GPT-2's forward pass."""

    layers: int
    heads: Heads
    activation: str
    epsilon: float
    positions: int
    embeddings_dropout: float
    residual_dropout: float

    @classmethod
    def of(cls, config: Architecture) -> "PackedGPT2 | None":
        """The packed form of an architecture, or None if it has none here."""
        if config.model_type != "gpt2" or config.activation_function not in ACTIVATIONS:
            return None
        if not config.scale_attn_weights or config.scale_attn_by_inverse_layer_idx:
            return None
        count = config.n_head
        return cls(
            layers=config.n_layer,
            heads=Heads(
                count, count, config.n_embd // count, causal=True, dropout=config.attn_pdrop
            ),
            activation=config.activation_function,
            epsilon=config.layer_norm_epsilon,
            positions=config.n_positions,
            embeddings_dropout=config.embd_pdrop,
            residual_dropout=config.resid_pdrop,
        )

    def __call__(self, weights: Weights, sequences: Sequences, how: Pass = EXACT) -> Tensor:
        """As `PackedLlama.__call__`."""
        refuse_longer(sequences.longest, self.positions)
        how = how.of_tokens(sequences.offsets)
        table = weights["transformer.wte.weight"]
        hidden = embedding(table, sequences.ids, how.shards)
        hidden = hidden + embedding(
            weights["transformer.wpe.weight"], sequences.positions, how.shards
        )
        hidden = dropped_at(hidden, self.embeddings_dropout, how, _EMBEDDINGS, "embeddings")
        for layer in range(self.layers):
            name = f"transformer.h.{layer}"
            seen = normed(weights, f"{name}.ln_1", hidden, self.epsilon, how)
            together = self._product(weights, f"{name}.attn.c_attn", seen, how)
            q, k, v = together.chunk(3, dim=1)
            mixed = attend((q, k, v), sequences.offsets, self.heads, how, layer)
            mixed = self._product(weights, f"{name}.attn.c_proj", mixed, how)
            hidden = (
                dropped_at(mixed, self.residual_dropout, how, layer, "attention output") + hidden
            )
            seen = normed(weights, f"{name}.ln_2", hidden, self.epsilon, how)
            inner = ACTIVATIONS[self.activation](
                self._product(weights, f"{name}.mlp.c_fc", seen, how)
            )
            outer = self._product(weights, f"{name}.mlp.c_proj", inner, how)
            hidden = hidden + dropped_at(outer, self.residual_dropout, how, layer, "output")
        hidden = normed(weights, "transformer.ln_f", hidden, self.epsilon, how)
        head = weights.get("lm_head.weight", table)
        return linear(hidden, head, rounded=how.rounded, shards=how.shards)

    def _product(self, weights: Weights, name: str, x: Tensor, how: Pass) -> Tensor:
        """Its matrices are [inputs, outputs], the other way round than those of others."""
        weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
        made: Tensor = matmul(x, weight, bias, how.rounded, how.shards)
        return made
