"""Encoders of the BERT family: BERT, MiniLM, RoBERTa, ELECTRA, DistilBERT.

Devlin and others, 2018; Wang and others, 2020; Liu and others, 2019; Clark and others, 2020; Sanh and others, 2019.
They are one forward pass, with other names for its weights.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from retort.kernels.embeddings import embedding
from retort.models.packed.architecture import Architecture
from retort.models.packed.layers import (
    ACTIVATIONS,
    Heads,
    Weights,
    attend,
    dense,
    dense_each,
    normed,
    refuse_longer,
)
from retort.models.packed.passes import EXACT, Pass, dropped_at
from retort.models.packed.sequences import Sequences


@dataclass(frozen=True)
class EncoderNames:
    """Of the weights of a layer, behind its prefix."""

    layer: str
    query: str
    key: str
    value: str
    attention: str
    attention_norm: str
    inner: str
    outer: str
    outer_norm: str


_BERT = EncoderNames(
    layer="encoder.layer",
    query="attention.self.query",
    key="attention.self.key",
    value="attention.self.value",
    attention="attention.output.dense",
    attention_norm="attention.output.LayerNorm",
    inner="intermediate.dense",
    outer="output.dense",
    outer_norm="output.LayerNorm",
)
_DISTILBERT = EncoderNames(
    layer="transformer.layer",
    query="attention.q_lin",
    key="attention.k_lin",
    value="attention.v_lin",
    attention="attention.out_lin",
    attention_norm="sa_layer_norm",
    inner="ffn.lin1",
    outer="ffn.lin2",
    outer_norm="output_layer_norm",
)
_NAMES = {"bert": _BERT, "roberta": _BERT, "electra": _BERT, "distilbert": _DISTILBERT}
_EMBEDDINGS = -1
"""The layer of a place below all layers."""


def names_of_encoder(config: Architecture) -> EncoderNames | None:
    """How an architecture's weights are called; None if it is none of these encoders."""
    return None if getattr(config, "is_decoder", False) else _NAMES.get(config.model_type)


@dataclass(frozen=True)
class PackedEncoder:
    """An encoder's forward pass.

    Attributes:
        layers: how many.
        positions: the most tokens of a sequence.
        padding: the number that RoBERTa's positions begin behind; None where they begin with 0.
        attention_output_dropout: whether the output of attention is dropped, too, before it is added.
    """

    names: EncoderNames
    layers: int
    heads: Heads
    activation: str
    epsilon: float
    dropout: float
    positions: int
    padding: int | None
    attention_output_dropout: bool

    @classmethod
    def of(cls, config: Architecture) -> "PackedEncoder | None":
        """The packed form of an architecture, or None if it has none here."""
        kind, names = config.model_type, names_of_encoder(config)
        if names is None:
            return None
        distilled = kind == "distilbert"
        activation = config.activation if distilled else config.hidden_act
        if activation not in ACTIVATIONS:
            return None
        count, hidden = config.num_attention_heads, config.hidden_size
        padding = config.pad_token_id if kind == "roberta" else None
        attention = config.attention_dropout if distilled else config.attention_probs_dropout_prob
        return cls(
            names=names,
            layers=config.num_hidden_layers,
            heads=Heads(count, count, hidden // count, causal=False, dropout=attention),
            activation=activation,
            epsilon=1e-12 if distilled else config.layer_norm_eps,
            dropout=config.dropout if distilled else config.hidden_dropout_prob,
            positions=config.max_position_embeddings - (0 if padding is None else padding + 1),
            padding=padding,
            attention_output_dropout=not distilled,
        )

    def __call__(self, weights: Weights, sequences: Sequences, how: Pass = EXACT) -> Tensor:
        """The last hidden states, [tokens, hidden].

        Args:
            weights: by transformers' names of the encoder alone.
        Raises:
            ValueError: a sequence is longer than the model's positions, or an id not one of its tokens.
        """
        how = how.of_tokens(sequences.offsets)
        hidden = self._embedded(weights, sequences, how)
        for layer in range(self.layers):
            hidden = self._layer(weights, hidden, sequences.offsets, how, layer)
        return hidden

    def _embedded(self, weights: Weights, sequences: Sequences, how: Pass) -> Tensor:
        refuse_longer(sequences.longest, self.positions)
        words = embedding(weights["embeddings.word_embeddings.weight"], sequences.ids, how.shards)
        types = weights.get("embeddings.token_type_embeddings.weight")
        if types is not None:
            words = words + embedding(types, torch.zeros_like(sequences.ids), how.shards)
        table = weights["embeddings.position_embeddings.weight"]
        words = words + embedding(table, self._positions(sequences), how.shards)
        words = normed(weights, "embeddings.LayerNorm", words, self.epsilon, how)
        words = dropped_at(words, self.dropout, how, _EMBEDDINGS, "embeddings")
        if "embeddings_project.weight" in weights:
            return dense(weights, "embeddings_project", words, how)
        return words

    def _positions(self, sequences: Sequences) -> Tensor:
        if self.padding is None:
            return sequences.positions
        # A token that is spelled like padding counts as none, here and in transformers.
        real = (sequences.ids != self.padding).long()
        counted = real.cumsum(0)
        before = torch.cat([counted.new_zeros(1), counted])[sequences.offsets[:-1]]
        inside = counted - torch.repeat_interleave(before, sequences.offsets.diff())
        return inside * real + self.padding

    def _layer(
        self,
        weights: Weights,
        hidden: Tensor,
        offsets: Tensor,
        how: Pass,
        layer: int,
    ) -> Tensor:
        names = self.names

        def called(name: str) -> str:
            return f"{names.layer}.{layer}.{name}"

        attending = [called(one) for one in (names.query, names.key, names.value)]
        q, k, v = dense_each(weights, attending, hidden, how)
        mixed = attend((q, k, v), offsets, self.heads, how, layer)
        mixed = dense(weights, called(names.attention), mixed, how)
        if self.attention_output_dropout:
            mixed = dropped_at(mixed, self.dropout, how, layer, "attention output")
        hidden = normed(weights, called(names.attention_norm), mixed + hidden, self.epsilon, how)
        inner = ACTIVATIONS[self.activation](dense(weights, called(names.inner), hidden, how))
        outer = dense(weights, called(names.outer), inner, how)
        outer = dropped_at(outer, self.dropout, how, layer, "output")
        return normed(weights, called(names.outer_norm), outer + hidden, self.epsilon, how)
