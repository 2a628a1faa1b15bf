"""Models of well-known shapes drawn at random, and recipes that train them on tokens that are there already."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from transformers import BertConfig, BertModel

from benchmarks.train import ours as train_ours
from benchmarks.train.workload import Workload

ENCODERS: Mapping[str, Mapping[str, int]] = {
    "tiny": {"num_hidden_layers": 2, "hidden_size": 64, "intermediate_size": 128},
    "minilm": {"num_hidden_layers": 6, "hidden_size": 384, "intermediate_size": 1536},
    "base": {"num_hidden_layers": 12, "hidden_size": 768, "intermediate_size": 3072},
}
"""Of BERT (Devlin and others, 2019); heads of 64, of 32 in the smaller ones, as MiniLM's are."""
DECODERS: Mapping[str, Mapping[str, int]] = {
    "tiny": {"hidden": 64, "layers": 2, "heads": 2},
    "llama": {"hidden": 768, "layers": 17, "heads": 12},
}
"""Of LLaMA (Touvron and others, 2023); with 4,096 tokens the larger one has about 124 million weights."""

_LOGGING = {"every": 1, "tensorboard": False}
"""Each step, and nothing that takes a package more."""


@dataclass(frozen=True)
class Amounts:
    """How much is trained.

    Attributes:
        steps: of a run; batch: samples of a step; length: tokens of the longest.
        shards: logical ones, each a micro-batch.
    """

    steps: int
    batch: int
    shards: int
    length: int


def write_encoder(
    root: Path, tokenizer: Path, shape: Mapping[str, int], max_tokens: int
) -> BertModel:
    """Write an encoder drawn at random as pretrained weights are published, and give it back."""
    root.mkdir(parents=True)
    hidden = shape["hidden_size"]
    config = BertConfig(
        num_hidden_layers=shape["num_hidden_layers"],
        hidden_size=hidden,
        intermediate_size=shape["intermediate_size"],
        num_attention_heads=hidden // (64 if hidden >= 768 else 32),
        max_position_embeddings=max(512, max_tokens),
    )
    torch.manual_seed(0)
    model = BertModel(config)
    config.save_pretrained(root)
    (root / "model.safetensors").write_bytes(
        safetensors.torch.save(model.state_dict(), metadata={"format": "pt"})
    )
    (root / "tokenizer.json").write_bytes(tokenizer.read_bytes())
    return model


def encoder_workload(store: Path, weights: Path, amounts: Amounts, device: str) -> Workload:
    """A classifier's training in bfloat16, as our trainer and a plain loop do it."""
    return Workload.model_validate(
        {
            "store": store,
            "weights": weights,
            "steps": amounts.steps,
            "batch": amounts.batch,
            "shards": amounts.shards,
            "max_tokens": amounts.length,
            "lr": 1e-5,
            "threads": 1,
            "precision": "bfloat16",
            "device": device,
        }
    )


def write_encoder_recipe(file: Path, workload: Workload) -> None:
    """The same as a recipe."""
    # JSON is YAML too.
    recipe = {**train_ours.recipe(workload), "logging": _LOGGING}
    file.write_text(json.dumps(recipe), encoding="utf-8")


def write_decoder_recipe(
    file: Path, store: Path, shape: Mapping[str, int], amounts: Amounts
) -> None:
    """A language model from scratch in bfloat16."""
    recipe: dict[str, Any] = {
        "data": {"source": "token_store", "store": str(store), "max_tokens": amounts.length},
        "model": {"language_model": {"family": "llama", "context": amounts.length, **shape}},
        "optimizer": {"lr": 3e-4, "weight_decay": 0.1, "betas": [0.9, 0.95]},
        "train": {
            "steps": amounts.steps,
            "batch": amounts.batch,
            "shards": amounts.shards,
            "threads": 1,
            "precision": "bfloat16",
            "arithmetic": "native",
        },
        "logging": _LOGGING,
    }
    file.write_text(json.dumps(recipe), encoding="utf-8")
