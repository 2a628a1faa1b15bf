"""Checkpoints written at once from a model in memory, as nobody writes them who trains."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import safetensors.torch
from torch import nn

from retort.core.digest import JSON
from retort.core.seal import Sealed, sealing, verify
from retort.data.tokenizers.text_encoder import TextEncoder
from retort.models.checkpoint import (
    KIND,
    WEIGHTS,
    classifier_files,
    language_model_files,
    stored_weights,
)
from retort.models.classifier import TextClassifier
from retort.models.embeddings import TextEmbedder, embedder_files
from retort.models.language_model import LanguageModel


def save_checkpoint(
    target: Path,
    *,
    model: TextClassifier,
    tokenise: TextEncoder,
    labels: Sequence[str],
    threads: int,
    inputs: Mapping[str, str],
    config: Mapping[str, JSON],
) -> Sealed:
    files = classifier_files(model, tokenise=tokenise, labels=labels, threads=threads)
    return _save(target, files, model, inputs, config)


def save_language_model(
    target: Path,
    *,
    model: LanguageModel,
    tokenizer: bytes,
    threads: int,
    inputs: Mapping[str, str],
    config: Mapping[str, JSON],
) -> Sealed:
    files = language_model_files(model, tokenizer=tokenizer, threads=threads)
    return _save(target, files, model, inputs, config)


def save_embedder(
    target: Path, *, model: TextEmbedder, tokenise: TextEncoder, threads: int
) -> Sealed:
    files = embedder_files(model, tokenise=tokenise, threads=threads)
    return _save(target, files, model, inputs={}, config={})


def _save(
    target: Path,
    files: Mapping[str, bytes],
    model: nn.Module,
    inputs: Mapping[str, str],
    config: Mapping[str, JSON],
) -> Sealed:
    with sealing(target, kind=KIND, inputs=inputs, config=config) as directory:
        weights = safetensors.torch.save(stored_weights(model), metadata={"format": "pt"})
        for name, content in {**files, WEIGHTS: weights}.items():
            (directory / name).write_bytes(content)
    return verify(target, kind=KIND)
