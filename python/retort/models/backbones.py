"""Encoders and decoders: transformers' modules where PyTorch computes, their weights alone where the kernels do.

transformers is imported where a native model is made: only that is worth the time, which is more than PyTorch's.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import safetensors.torch
import torch

from retort.models.arithmetic import portable_decoder, portable_encoder
from retort.models.config import ArithmeticName
from retort.models.packed.architecture import Architecture, in_transformers
from retort.models.packed.tree import WeightTree

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Backbone: TypeAlias = "PreTrainedModel | WeightTree"


def encoder_of(architecture: Architecture, arithmetic: ArithmeticName = "native") -> Backbone:
    """An encoder in float32 whose weights are to be overwritten.

    PyTorch's attention is its fused one where the encoder's family has it.

    Raises:
        ValueError: the architecture is not one of an encoder.
        ConfigError: there is no portable arithmetic for it.
    """
    if arithmetic == "portable":
        portable_encoder(architecture)
        return WeightTree(architecture)
    from transformers import AutoModel

    model: Any = AutoModel.from_config(  # type: ignore[no-untyped-call]
        in_transformers(architecture), dtype=torch.float32
    )
    return model  # type: ignore[no-any-return]


def decoder_of(architecture: Architecture, arithmetic: ArithmeticName = "native") -> Backbone:
    """A causal language model in float32; native ones have weights drawn at random.

    Raises:
        ValueError: the architecture is not one of a language model.
        ConfigError: there is no portable arithmetic for it.
    """
    if arithmetic == "portable":
        portable_decoder(architecture)
        return WeightTree(architecture)
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
        in_transformers(architecture), dtype=torch.float32
    )
    return model  # type: ignore[no-any-return]


def read_encoder(
    directory: Path, architecture: Architecture, arithmetic: ArithmeticName = "native"
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
    import transformers

    transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    backbone, report = transformers.AutoModel.from_pretrained(
        directory,
        config=in_transformers(architecture),
        dtype=torch.float32,
        local_files_only=True,
        output_loading_info=True,
    )
    # The pooler is not used.
    lacking = {name for name in report["missing_keys"] if not name.startswith("pooler.")}
    return backbone, lacking
