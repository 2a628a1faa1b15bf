"""The parts that packed models have in common. Weights are found by the names that transformers gives them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from retort.kernels.attention import Setting, attended
from retort.kernels.elementwise import gelu, silu
from retort.kernels.norms import layer_norm
from retort.kernels.products import Packed, linear, product
from retort.kernels.quantized import PackedQuantized, quantize, quantized_product
from retort.models.packed.passes import EXACT, Pass

Weights = Mapping[str, Tensor]
"""By name, float32 on the CPU."""

ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "gelu": gelu,
    "gelu_new": lambda x: gelu(x, "tanh"),
    "gelu_pytorch_tanh": lambda x: gelu(x, "tanh"),
    "relu": torch.relu,
    "silu": silu,
    "swish": silu,
}
"""By their names in a config.json."""


def dense(weights: Weights, name: str, x: Tensor, how: Pass = EXACT) -> Tensor:
    """A linear layer, with its bias if it has one. [tokens, inputs] to [tokens, outputs]."""
    return dense_each(weights, [name], x, how)[0]


def dense_each(
    weights: Weights, names: Sequence[str], x: Tensor, how: Pass = EXACT
) -> list[Tensor]:
    """Several linear layers of the same input."""
    levels = None
    found = []
    for name in names:
        fixed, bias = how.fixed.get(name), weights.get(f"{name}.bias")
        if isinstance(fixed, PackedQuantized):
            levels = levels or quantize(x)
            found.append(quantized_product(levels, fixed, bias))
        elif isinstance(fixed, Packed):
            found.append(product(x, fixed, bias))
        else:
            weight = weights[f"{name}.weight"]
            found.append(linear(x, weight, bias, rounded=how.rounded, shards=how.shards))
    return found


def normed(weights: Weights, name: str, x: Tensor, epsilon: float, how: Pass = EXACT) -> Tensor:
    """LayerNorm."""
    weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
    return layer_norm(x, weight, bias, epsilon, how.shards)


@dataclass(frozen=True)
class Heads:
    """How a layer attends.

    Attributes:
        count: of queries.
        shared: of keys and values; `count` is a multiple of it.
        width: numbers of one.
        causal: as of `Setting`.
        dropout: probability, of the weights.
    """

    count: int
    shared: int
    width: int
    causal: bool
    dropout: float

    def setting(self, how: Pass, layer: int) -> Setting:
        """Of the kernel."""
        scale, places = self.width**-0.5, how.places
        if places is None or self.dropout == 0:
            return Setting(scale, self.causal)
        dropouts = places.dropouts(self.dropout, layer, "attention")
        return Setting(scale, self.causal, dropouts, places.sequences)


def attend(
    parts: tuple[Tensor, Tensor, Tensor],
    offsets: Tensor,
    heads: Heads,
    how: Pass,
    layer: int,
) -> Tensor:
    """Attention of a layer.

    Args:
        parts: queries, keys and values, [tokens, heads * width] or [tokens, heads, width].
    Returns:
        [tokens, count * width].
    """
    counts = (heads.count, heads.shared, heads.shared)
    q, k, v = (
        one.reshape(len(one), count, heads.width) for one, count in zip(parts, counts, strict=True)
    )
    mixed = attended(q, k, v, offsets, heads.setting(how, layer))
    return mixed.reshape(len(q), heads.count * heads.width)


def refuse_longer(longest: int, positions: int) -> None:
    """
    Raises:
        ValueError: a sequence has more tokens than the model has positions.
    """
    if longest > positions:
        raise ValueError(f"a sequence has {longest} tokens, and the model {positions} positions")
