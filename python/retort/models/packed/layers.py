"""The parts that packed models have in common. Weights are found by the names that transformers gives them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from retort.kernels.attention import Setting, attended
from retort.kernels.elementwise import gelu, silu
from retort.kernels.norms import layer_norm
from retort.kernels.products import linear
from retort.models.packed.sequences import Places

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


@dataclass(frozen=True)
class Pass:
    """How a forward pass is made.

    Attributes:
        places: where in training it is, by which dropout drops; without them nothing is dropped.
        rounded: whether the factors of the products of layers are, to bfloat16. All else is float32.
    """

    places: Places | None = None
    rounded: bool = False


EXACT = Pass()


def dense(weights: Weights, name: str, x: Tensor, how: Pass = EXACT) -> Tensor:
    """A linear layer, with its bias if it has one. [tokens, inputs] to [tokens, outputs]."""
    weight, bias = weights[f"{name}.weight"], weights.get(f"{name}.bias")
    return linear(x, weight, bias, rounded=how.rounded)


def normed(weights: Weights, name: str, x: Tensor, epsilon: float) -> Tensor:
    """LayerNorm."""
    return layer_norm(x, weights[f"{name}.weight"], weights[f"{name}.bias"], epsilon)


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

    def setting(self, places: Places | None, layer: int) -> Setting:
        """Of the kernel."""
        scale = self.width**-0.5
        if places is None or self.dropout == 0:
            return Setting(scale, self.causal)
        return Setting(scale, self.causal, places.dropout(self.dropout, layer, "attention"))


def attend(
    parts: tuple[Tensor, Tensor, Tensor],
    offsets: Tensor,
    heads: Heads,
    places: Places | None,
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
    mixed = attended(q, k, v, offsets, heads.setting(places, layer))
    return mixed.reshape(len(q), heads.count * heads.width)


def refuse_longer(longest: int, positions: int) -> None:
    """
    Raises:
        ValueError: a sequence has more tokens than the model has positions.
    """
    if longest > positions:
        raise ValueError(f"a sequence has {longest} tokens, and the model {positions} positions")
