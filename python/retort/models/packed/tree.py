"""The weights of a packed model: a tree of modules that has transformers' names and order, and computes nothing.

transformers' own modules would have the same weights, and take longer to import than all else of a process together.
"""

from collections.abc import Iterator, Mapping
from typing import TypeAlias

import torch
from torch import Tensor, nn

from retort.models.packed.architecture import Architecture, in_float32
from retort.models.packed.encoders import EncoderNames, names_of_encoder

Shapes: TypeAlias = Iterator[tuple[str, tuple[int, ...]]]

_LEGACY = {".gamma": ".weight", ".beta": ".bias"}
"""How LayerNorms were spelled by TensorFlow, and are in files made from its."""
_LM_HEAD = "lm_head"
_TABLES = frozenset(
    [
        "word_embeddings",
        "position_embeddings",
        "token_type_embeddings",
        "embed_tokens",
        "wte",
        "wpe",
    ]
)


class Table(nn.Module):
    """The place of a weight whose rows are looked up, and which nothing is multiplied by here."""


class WeightTree(nn.Module):
    """The weights of an encoder or of a causal language model, float32, not yet filled.

    Attributes:
        config: the architecture; a copy that says float32.
    """

    def __init__(self, config: Architecture) -> None:
        """
        Raises:
            ValueError: the architecture has no packed form.
        """
        super().__init__()
        self.config = in_float32(config)
        for name, shape in _shapes(config):
            _place(self, name, nn.Parameter(torch.empty(shape)))
        if config.model_type in _EMBEDDED_BY and config.tie_word_embeddings:
            _place(self, f"{_LM_HEAD}.weight", self.get_parameter(_EMBEDDED_BY[config.model_type]))

    def fill(self, stored: Mapping[str, Tensor]) -> set[str]:
        """Take the weights from a file of any floating dtype, which may be of a larger model with this one inside.

        Args:
            stored: by name, with or without the prefix that models with a head put before their encoder's.
        Returns:
            The names of weights that are not stored, and so still are not filled.
        Raises:
            ValueError: a weight has another shape; it is named.
        """
        found = {_renamed(name, self.config.model_type): tensor for name, tensor in stored.items()}
        missing = set()
        with torch.no_grad():
            for name, weight in self.named_parameters():
                tensor = found.get(name)
                if tensor is None:
                    missing.add(name)
                elif tensor.shape != weight.shape:
                    shapes = f"{list(tensor.shape)}, and the architecture has {list(weight.shape)}"
                    raise ValueError(f"the weight {name} is stored as {shapes}")
                else:
                    weight.copy_(tensor)
        return missing


_EMBEDDED_BY = {"llama": "model.embed_tokens.weight", "gpt2": "transformer.wte.weight"}
"""What a language model's last layer may share."""


def _renamed(name: str, prefix: str) -> str:
    name = name.removeprefix(f"{prefix}.")
    for old, new in _LEGACY.items():
        if name.endswith(old):
            return name.removesuffix(old) + new
    return name


def _place(root: nn.Module, name: str, weight: nn.Parameter) -> None:
    *path, last = name.split(".")
    module = root
    for part in path:
        if part not in module._modules:
            module.add_module(part, Table() if part in _TABLES else nn.Module())
        module = module.get_submodule(part)
    module.register_parameter(last, weight)


def _shapes(config: Architecture) -> Shapes:
    """Of every weight, in transformers' order; a shared one once."""
    names = names_of_encoder(config)
    if names is not None:
        return _encoder(config, names)
    if config.model_type == "llama":
        return _llama(config)
    if config.model_type == "gpt2":
        return _gpt2(config)
    raise ValueError(f"there is no packed form of a model of type {config.model_type}")


def _linear(name: str, outputs: int, inputs: int, bias: bool = True) -> Shapes:
    yield f"{name}.weight", (outputs, inputs)
    if bias:
        yield f"{name}.bias", (outputs,)


def _norm(name: str, width: int) -> Shapes:
    yield f"{name}.weight", (width,)
    yield f"{name}.bias", (width,)


def _encoder(config: Architecture, names: EncoderNames) -> Shapes:
    hidden = config.hidden_size
    width = getattr(config, "embedding_size", hidden)
    inner = config.hidden_dim if config.model_type == "distilbert" else config.intermediate_size
    positions = ("embeddings.position_embeddings.weight", (config.max_position_embeddings, width))
    late = config.model_type == "roberta"
    yield "embeddings.word_embeddings.weight", (config.vocab_size, width)
    if not late:
        yield positions
    if config.model_type != "distilbert":
        yield "embeddings.token_type_embeddings.weight", (config.type_vocab_size, width)
    yield from _norm("embeddings.LayerNorm", width)
    if late:
        yield positions
    if width != hidden:
        yield from _linear("embeddings_project", hidden, width)
    for layer in range(config.num_hidden_layers):
        at = f"{names.layer}.{layer}"
        for name in (names.query, names.key, names.value, names.attention):
            yield from _linear(f"{at}.{name}", hidden, hidden)
        yield from _norm(f"{at}.{names.attention_norm}", hidden)
        yield from _linear(f"{at}.{names.inner}", inner, hidden)
        yield from _linear(f"{at}.{names.outer}", hidden, inner)
        yield from _norm(f"{at}.{names.outer_norm}", hidden)


def _llama(config: Architecture) -> Shapes:
    hidden, inner, count = config.hidden_size, config.intermediate_size, config.num_attention_heads
    width = getattr(config, "head_dim", None) or hidden // count
    all_heads, shared = count * width, config.num_key_value_heads * width
    yield _EMBEDDED_BY["llama"], (config.vocab_size, hidden)
    for layer in range(config.num_hidden_layers):
        at, bias = f"model.layers.{layer}", config.attention_bias
        yield from _linear(f"{at}.self_attn.q_proj", all_heads, hidden, bias)
        yield from _linear(f"{at}.self_attn.k_proj", shared, hidden, bias)
        yield from _linear(f"{at}.self_attn.v_proj", shared, hidden, bias)
        yield from _linear(f"{at}.self_attn.o_proj", hidden, all_heads, bias)
        yield from _linear(f"{at}.mlp.gate_proj", inner, hidden, config.mlp_bias)
        yield from _linear(f"{at}.mlp.up_proj", inner, hidden, config.mlp_bias)
        yield from _linear(f"{at}.mlp.down_proj", hidden, inner, config.mlp_bias)
        yield f"{at}.input_layernorm.weight", (hidden,)
        yield f"{at}.post_attention_layernorm.weight", (hidden,)
    yield "model.norm.weight", (hidden,)
    if not config.tie_word_embeddings:
        yield f"{_LM_HEAD}.weight", (config.vocab_size, hidden)


def _gpt2(config: Architecture) -> Shapes:
    width = config.n_embd
    inner = config.n_inner or 4 * width
    yield _EMBEDDED_BY["gpt2"], (config.vocab_size, width)
    yield "transformer.wpe.weight", (config.n_positions, width)
    for layer in range(config.n_layer):
        at = f"transformer.h.{layer}"
        yield from _norm(f"{at}.ln_1", width)
        yield from _reversed(f"{at}.attn.c_attn", width, 3 * width)
        yield from _reversed(f"{at}.attn.c_proj", width, width)
        yield from _norm(f"{at}.ln_2", width)
        yield from _reversed(f"{at}.mlp.c_fc", width, inner)
        yield from _reversed(f"{at}.mlp.c_proj", inner, width)
    yield from _norm("transformer.ln_f", width)
    if not config.tie_word_embeddings:
        yield f"{_LM_HEAD}.weight", (config.vocab_size, width)


def _reversed(name: str, inputs: int, outputs: int) -> Shapes:
    yield f"{name}.weight", (inputs, outputs)
    yield f"{name}.bias", (outputs,)
