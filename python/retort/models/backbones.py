"""Encoders and decoders: transformers' modules where PyTorch computes, their weights alone where the kernels do."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import safetensors.torch
import torch
from transformers import AutoModel, AutoModelForCausalLM, PretrainedConfig

from retort.models.arithmetic import portable_decoder, portable_encoder
from retort.models.config import ArithmeticName
from retort.models.packed.tree import WeightTree

if TYPE_CHECKING:
    # Only a native model is worth the time that its import takes, which is more than PyTorch's.
    from transformers import PreTrainedModel

Backbone: TypeAlias = "PreTrainedModel | WeightTree"


def encoder_of(architecture: PretrainedConfig, arithmetic: ArithmeticName = "native") -> Backbone:
    """An encoder in float32 whose weights are to be overwritten.

    PyTorch's attention is its fused one where the encoder's family has it.

    Raises:
        ValueError: the architecture is not one of an encoder.
        ConfigError: there is no portable arithmetic for it.
    """
    if arithmetic == "portable":
        portable_encoder(architecture)
        return WeightTree(architecture)
    model: Any = AutoModel.from_config(architecture, dtype=torch.float32)  # type: ignore[no-untyped-call]
    return model  # type: ignore[no-any-return]


def decoder_of(architecture: PretrainedConfig, arithmetic: ArithmeticName = "native") -> Backbone:
    """A causal language model in float32; native ones have weights drawn at random.

    Raises:
        ValueError: the architecture is not one of a language model.
        ConfigError: there is no portable arithmetic for it.
    """
    if arithmetic == "portable":
        portable_decoder(architecture)
        return WeightTree(architecture)
    model: Any = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
        architecture, dtype=torch.float32
    )
    return model  # type: ignore[no-any-return]


def read_encoder(
    directory: Path, architecture: PretrainedConfig, arithmetic: ArithmeticName = "native"
) -> tuple[Backbone, set[str]]:
    """A pretrained encoder in float32, from a directory with config.json and model.safetensors.

    Returns:
        The encoder, and the names of its weights that the directory lacks.
    Raises:
        ConfigError: there is no portable arithmetic for it.
        Exception: whatever the libraries raise of files that are not what they should be.
    """
    if arithmetic == "portable":
        portable_encoder(architecture)
        tree = WeightTree(architecture)
        return tree, tree.fill(safetensors.torch.load_file(directory / "model.safetensors"))
    backbone, report = AutoModel.from_pretrained(
        directory,
        config=architecture,
        dtype=torch.float32,
        local_files_only=True,
        output_loading_info=True,
    )
    # The pooler is not used.
    lacking = {name for name in report["missing_keys"] if not name.startswith("pooler.")}
    return backbone, lacking
