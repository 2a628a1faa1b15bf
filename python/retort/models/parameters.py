"""Which weights are trained, at which share of the learning rate, and which of them decay."""

import re
from dataclasses import dataclass

from torch import nn

from retort.core.errors import ConfigError
from retort.models.config import ModelConfig

_LAYER = re.compile(r"^backbone\.(?:.*?\.)?layers?\.(\d+)\.")


@dataclass(frozen=True)
class ParameterGroup:
    """Weights that an optimiser treats alike.

    Attributes:
        names: as `model.named_parameters()` gives them, in its order.
        lr_scale: factor of the learning rate.
        weight_decay: 0 for biases and normalisation weights.
    """

    names: tuple[str, ...]
    lr_scale: float
    weight_decay: float


def parameter_groups(
    model: nn.Module, config: ModelConfig, weight_decay: float
) -> list[ParameterGroup]:
    """Freeze what the recipe says, and group what is left.

    A frozen weight no longer requires a gradient and is in no group; every other one is in one
    group, a shared one once, under its first name. The order, from the lowest rate to the highest
    and with what decays first, follows from the model and the recipe alone.

    Raises:
        ConfigError: the model has fewer layers than the recipe freezes, or none that can be told.
    """
    depths = _depths(model, config)
    top = max(depths.values())
    found: dict[tuple[float, float], list[str]] = {}
    for name, weight in model.named_parameters():
        frozen = _is_frozen(depths[name], top, config)
        weight.requires_grad_(not frozen)
        if not frozen:
            scale = config.layer_decay ** (top - depths[name])
            decay = weight_decay if weight.ndim > 1 else 0.0
            found.setdefault((scale, decay), []).append(name)
    return [
        ParameterGroup(tuple(found[scale, decay]), scale, decay)
        for scale, decay in sorted(found, key=lambda key: (key[0], -key[1]))
    ]


def _depths(model: nn.Module, config: ModelConfig) -> dict[str, int]:
    """0 for what lies outside the layers, n + 1 for layer n, one more than all for the head."""
    names = [name for name, _ in model.named_parameters()]
    layers = {name: int(match[1]) + 1 for name in names if (match := _LAYER.match(name))}
    number = max(layers.values(), default=0)
    asked = config.freeze.layers
    if number == 0 and (config.freeze.embeddings or asked or config.layer_decay < 1.0):
        raise ConfigError(
            "model.freeze and model.layer_decay: the layers of this architecture cannot be told "
            "by the names of its weights; remove both keys"
        )
    if asked > number:
        raise ConfigError(f"model.freeze.layers: {asked} is more than the model's {number}")
    return {name: number + 1 if name.startswith("head.") else layers.get(name, 0) for name in names}


def _is_frozen(depth: int, top: int, config: ModelConfig) -> bool:
    if depth == 0:
        return config.freeze.embeddings
    return depth < top and depth <= config.freeze.layers
