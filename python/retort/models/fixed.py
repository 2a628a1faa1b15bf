"""Encoders whose linear layers never change again: weights are held once, in the form in which products read them.

So a server's memory holds no second copy of them, and they may be levels of int8, which nothing could be trained by.
"""

from collections.abc import Mapping

from torch import Tensor, nn

from retort.kernels.products import pack
from retort.kernels.quantized import Quantized, pack_quantized, quantize
from retort.models.classifier import TextClassifier
from retort.models.packed.passes import Fixed, Pass
from retort.models.packed.tree import Table

_BACKBONE, _LEVELS, _SCALES = "backbone.", ".weight", ".scales"
"""Before and behind a quantized layer's name in a file."""


def fix_layers(model: TextClassifier, *, rounded: bool) -> None:
    """Replace the weights of an encoder's linear layers by what products read of them.

    Args:
        model: in portable arithmetic; it can only be evaluated from now on.
        rounded: whether they are, to bfloat16.
    """
    layers = encoder_layers(model)
    _fix(model, {name: pack(weight.t(), rounded=rounded) for name, weight in layers.items()})


def fix_quantized(model: TextClassifier, layers: Mapping[str, Quantized]) -> None:
    """The same, by levels, whatever the weights are.

    Args:
        layers: by the encoder's names; their shapes are those of its weights.
    Raises:
        ValueError: they are not those of the model.
    """
    wanted = {name: weight.shape for name, weight in encoder_layers(model).items()}
    given = {name: layer.levels.shape for name, layer in layers.items()}
    if given != wanted:
        name = min(
            name for name in wanted.keys() | given.keys() if given.get(name) != wanted.get(name)
        )
        raise ValueError(
            f"the layer {name} has levels {_size(given, name)}; it is {_size(wanted, name)}"
        )
    _fix(model, {name: pack_quantized(layer) for name, layer in layers.items()})


def quantized_layers(model: TextClassifier) -> dict[str, Quantized]:
    """The linear layers of an encoder, by its names, with each output channel quantized."""
    return {name: quantize(weight) for name, weight in encoder_layers(model).items()}


def stored_quantized(layers: Mapping[str, Quantized]) -> dict[str, Tensor]:
    """What a file of weights holds of quantized layers: levels, int8, in place of weights, and scales."""
    found = {}
    for name, layer in layers.items():
        found[f"{_BACKBONE}{name}{_LEVELS}"] = layer.levels.contiguous()
        found[f"{_BACKBONE}{name}{_SCALES}"] = layer.scales
    return found


def take_quantized(state: dict[str, Tensor]) -> dict[str, Quantized]:
    """The inverse of `stored_quantized`; what is taken is no longer in `state`.

    Raises:
        ValueError: there are scales without levels.
    """
    found = {}
    for key in [key for key in state if key.endswith(_SCALES)]:
        name = key.removesuffix(_SCALES)
        if f"{name}{_LEVELS}" not in state:
            raise ValueError(f"the layer {name} has scales and no levels")
        levels = state.pop(f"{name}{_LEVELS}")
        found[name.removeprefix(_BACKBONE)] = Quantized(levels, state.pop(key))
    return found


def encoder_layers(model: TextClassifier) -> dict[str, Tensor]:
    """The weights, [outputs, inputs], of an encoder's linear layers, by their names in it."""
    found = {}
    for name, module in model.backbone.named_modules():
        weight = module._parameters.get("weight")
        if weight is not None and weight.dim() == 2 and not isinstance(module, Table):
            found[name] = weight.detach()
    return found


def _fix(model: TextClassifier, encoder: Mapping[str, Fixed]) -> None:
    assert model.portable is not None
    model.portable.evaluating = Pass(fixed=encoder)
    for name in encoder:
        _drop(model.backbone.get_submodule(name))


def _drop(layer: nn.Module) -> None:
    layer.register_parameter("weight", None)


def _size(shapes: Mapping[str, object], name: str) -> str:
    return str(list(shapes[name])) if name in shapes else "none"  # type: ignore[call-overload]
