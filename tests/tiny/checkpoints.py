"""Checkpoints written at once from a model in memory, as nobody writes them who trains."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import safetensors.torch
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import nn

from retort.core.digest import JSON
from retort.core.seal import Sealed, sealing, verify
from retort.data.tokenizers.text_encoder import TextEncoder
from retort.export.exported import convert, files_of
from retort.models.backbones import encoder_of
from retort.models.checkpoint import (
    WEIGHTS,
    classifier_files,
    language_model_files,
    load_checkpoint,
    stored_weights,
)
from retort.models.classifier import TextClassifier
from retort.models.config import ArithmeticName, HeadConfig, PrecisionName
from retort.models.description import KIND, PLAIN, Calibration
from retort.models.embeddings import TextEmbedder, embedder_files
from retort.models.language_model import LanguageModel
from retort.models.packed.architecture import architecture_of

LABELS = ("business", "politics", "sport", "tech")
_TOKENS = 48


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


def letters_tokenizer(max_tokens: int = _TOKENS) -> TextEncoder:
    """WordPiece that knows single letters alone, so that texts differ in their tokens."""
    letters = "abcdefghijklmnopqrstuvwxyzäöüßéжщ猫犬🙂0123456789.,!?-"
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *letters, *(f"##{letter}" for letter in letters)]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    found = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    found.normalizer = normalizers.Lowercase()
    found.pre_tokenizer = pre_tokenizers.Whitespace()
    found.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return TextEncoder(found.to_str().encode(), max_tokens)


def write_served(path: Path, arithmetic: ArithmeticName) -> Path:
    """A sealed classifier, small and drawn at random, whose answers differ from text to text."""
    tokenise = letters_tokenizer()
    architecture = architecture_of(
        {
            "model_type": "bert",
            "vocab_size": tokenise.vocabulary_size,
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 64,
            "max_position_embeddings": _TOKENS,
        }
    )
    encoder = encoder_of(architecture, arithmetic)
    model = TextClassifier(encoder, HeadConfig(), len(LABELS), arithmetic=arithmetic)
    torch.manual_seed(12)
    for name, weight in model.named_parameters():
        if weight.ndim > 1:
            nn.init.normal_(weight, std=0.5)
        else:
            nn.init.constant_(weight, float("norm" in name.lower() and name.endswith("weight")))
    save_checkpoint(
        path,
        model=model,
        tokenise=tokenise,
        labels=LABELS,
        threads=1,
        inputs={},
        config={"seed": 12},
    )
    return path


def write_exported(
    path: Path, source: Path, precision: PrecisionName, calibration: Calibration = PLAIN
) -> Path:
    """An export of a classifier that was measured on nothing."""
    checkpoint = load_checkpoint(source)
    files = files_of(checkpoint, convert(checkpoint, precision), precision, calibration)
    with sealing(path, kind=KIND, inputs={}, config={}) as folder:
        for name, content in files.items():
            (folder / name).write_bytes(content)
    return path


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
