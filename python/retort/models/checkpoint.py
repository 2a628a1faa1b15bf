"""Checkpoints: a model, its tokenizer and what it was trained for, in one sealed directory.

    config.json          architecture of the pretrained encoder, or of the language model
    model.json           task, arithmetic, and what the task needs, such as head and labels
    model.safetensors    weights, float32, by name; a shared one once. Where `//serve:export` made it, linear layers
                         of the encoder may be bfloat16, or int8 beside the scales of their outputs
    tokenizer.json

A checkpoint loads without the network, without pickle, and without the code that trained it. Other
files, such as an optimiser's state, may be sealed with it, and are not read here. A weight that is
not finite is neither sealed nor loaded.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from retort.core.digest import JSON, canonical_json
from retort.core.errors import SealError, shown
from retort.core.seal import Sealed
from retort.data.tokenizers.text_encoder import TextEncoder
from retort.models.backbones import Backbone, decoder_of, encoder_of
from retort.models.classifier import TextClassifier
from retort.models.config import HeadConfig, PrecisionName, TaskName
from retort.models.description import (
    MODEL,
    PLAIN,
    TOKENIZER,
    Calibration,
    arithmetic_in,
    calibration_in,
    described,
    labels_in,
    precision_in,
    threads_in,
    tokenizer_in,
)
from retort.models.fixed import fix_quantized, take_quantized
from retort.models.language_model import LanguageModel
from retort.models.packed.architecture import Architecture, architecture_of
from retort.models.packed.passes import Pass

WEIGHTS = "model.safetensors"
ARCHITECTURE = "config.json"


@dataclass(frozen=True)
class Checkpoint:
    """A trained classifier, ready to predict.

    Attributes:
        sealed: the verified directory that it came from.
        model: in evaluation mode, on the CPU.
        tokenise: turns texts into the model's input.
        labels: names of the classes, in the order of the logits.
        threads: number of CPU threads with which its logits are the sealed ones, bit for bit; in portable arithmetic
            any number is, and this is that of the processors at hand.
        precision: of the factors of the encoder's products.
        calibration: of the logits.
    """

    sealed: Sealed
    model: TextClassifier
    tokenise: TextEncoder
    labels: tuple[str, ...]
    threads: int
    precision: PrecisionName = "float32"
    calibration: Calibration = PLAIN

    @property
    def tokenizer(self) -> bytes:
        """Content of its `tokenizer.json`."""
        return self.tokenise.definition


@dataclass(frozen=True)
class LanguageCheckpoint:
    """A trained language model.

    Attributes:
        sealed: the verified directory that it came from.
        model: in evaluation mode, float32, on the CPU.
        tokenizer: content of its `tokenizer.json`.
        context: the most tokens that it sees at once.
        threads: as of `Checkpoint`.
    """

    sealed: Sealed
    model: LanguageModel
    tokenizer: bytes
    context: int
    threads: int


def classifier_files(
    model: TextClassifier, *, tokenise: TextEncoder, labels: Sequence[str], threads: int
) -> dict[str, bytes]:
    """All files of a classifier's checkpoint but the weights, which do not change in training."""
    return text_model_files("classifier", model, tokenise, threads, {"labels": list(labels)})


def language_model_files(
    model: LanguageModel, *, tokenizer: bytes, threads: int
) -> dict[str, bytes]:
    """The same for a language model.

    Args:
        tokenizer: content of the `tokenizer.json` of its token store.
    """
    context = int(model.decoder.config.max_position_embeddings)
    facts: dict[str, JSON] = {"context": context, **_of_arithmetic(model, threads)}
    if model.boundary is not None:
        facts["boundary"] = model.boundary
    return _description("language_model", model.decoder, tokenizer, facts)


def text_model_files(
    task: TaskName,
    model: TextClassifier,
    tokenise: TextEncoder,
    threads: int,
    more: Mapping[str, JSON],
) -> dict[str, bytes]:
    """The same for an encoder with a head, as `fill_text_model` reads them.

    Args:
        more: what the task has to say besides, for `model.json`.
    """
    facts: dict[str, JSON] = {
        "head": model.head.config.model_dump(),
        "max_tokens": tokenise.max_tokens,
        "special_in_text": tokenise.special_in_text,
        **_of_arithmetic(model, threads),
    }
    return _description(task, model.backbone, tokenise.definition, {**facts, **more})


def stored_weights(model: nn.Module) -> dict[str, Tensor]:
    """What the weights file holds: every weight by its name, a shared one under its first alone.

    These are the names of `model.named_parameters()`, and persistent buffers, if there are any.
    """
    found: dict[int, tuple[str, Tensor]] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        found.setdefault(id(tensor), (name, tensor.detach().cpu().contiguous()))
    return dict(found.values())


def not_finite(tensors: Iterable[tuple[str, Tensor]]) -> str | None:
    """The name of the first tensor that holds a NaN or an infinity; None if there is no such one.

    Args:
        tensors: by name, of any dtype, on one device, which is waited for once.
    """
    names, finite = [], []
    for name, values in tensors:
        if values.is_floating_point() and values.numel():
            names.append(name)
            # One pass over memory: a NaN is the least and the greatest there is.
            finite.append(torch.stack(torch.aminmax(values.detach())).isfinite().all())
    known = torch.stack(finite).tolist() if finite else []
    return next((name for name, fine in zip(names, known, strict=True) if not fine), None)


def load_checkpoint(path: Path, seal: str | None = None) -> Checkpoint:
    """Verify a classifier's checkpoint, then build its model from the verified bytes.

    Args:
        seal: the one that it must have; see `retort.core.seal.verify`.
    Raises:
        UserError: `seal` is not a seal.
        SealError: it is not sealed, truncated, altered, has another seal, is not a classifier's
            checkpoint, or what its model says is not finite; the file is named.
    """
    with opened(path, "classifier", seal) as (sealed, facts, architecture):
        labels = labels_in(facts)
        head = HeadConfig.model_validate(facts["head"])
        arithmetic = arithmetic_in(facts)
        backbone = encoder_of(architecture, arithmetic)
        model = TextClassifier(backbone, head, len(labels), arithmetic=arithmetic)
        state, precision = stored_in(sealed), precision_in(facts)
        if precision == "int8":
            fix_quantized(model, take_quantized(state))
        elif model.portable is not None:
            model.portable.evaluating = Pass(rounded=precision == "bfloat16")
        return Checkpoint(
            sealed,
            model,
            fill_text_model(model, sealed, facts, state),
            labels,
            threads_in(facts),
            precision,
            calibration_in(facts),
        )


def load_language_model(path: Path, seal: str | None = None) -> LanguageCheckpoint:
    """Verify a language model's checkpoint, then build its model from the verified bytes.

    Args:
        seal: the one that it must have; see `retort.core.seal.verify`.
    Raises:
        UserError: `seal` is not a seal.
        SealError: it is not sealed, truncated, altered, has another seal, or is not a language
            model's checkpoint; the file is named.
    """
    with opened(path, "language_model", seal) as (sealed, facts, architecture):
        arithmetic = arithmetic_in(facts)
        boundary = facts.get("boundary")
        model = LanguageModel(
            decoder_of(architecture, arithmetic),
            arithmetic,
            None if boundary is None else int(boundary),
        )
        _fill(model, stored_in(sealed))
        tokenizer, context = sealed.read(TOKENIZER), int(facts["context"])
        return LanguageCheckpoint(sealed, model.eval(), tokenizer, context, threads_in(facts))


def _of_arithmetic(model: TextClassifier | LanguageModel, threads: int) -> dict[str, JSON]:
    """What must be known to compute the same bits."""
    return {"threads": threads} if model.portable is None else {"arithmetic": "portable"}


def _description(
    task: TaskName, backbone: Backbone, tokenizer: bytes, facts: Mapping[str, JSON]
) -> dict[str, bytes]:
    architecture = backbone.config.to_dict()
    architecture.pop("_name_or_path", None)  # the directory that it was loaded from
    return {
        ARCHITECTURE: canonical_json(architecture),
        MODEL: canonical_json({"task": task.replace("_", " "), **facts}),
        TOKENIZER: tokenizer,
    }


@contextmanager
def opened(
    path: Path, task: TaskName, seal: str | None
) -> Iterator[tuple[Sealed, Mapping[str, Any], Architecture]]:
    """A verified checkpoint of a task, its `model.json` and its architecture.

    What its files then turn out not to fit is the checkpoint's fault, and raised as `SealError`.
    """
    with described(path, task, seal) as (sealed, facts):
        yield sealed, facts, architecture_of(json.loads(sealed.read(ARCHITECTURE)))


def stored_in(sealed: Sealed) -> dict[str, Tensor]:
    """The weights of a checkpoint, by name.

    Raises:
        SealError: one is not finite.
    """
    state = safetensors.torch.load(sealed.read(WEIGHTS))
    unusable = not_finite(state.items())
    if unusable is not None:
        raise SealError(f"{shown(sealed.path / WEIGHTS)}: the weight {unusable} is not finite")
    return state


def fill_text_model(
    model: TextClassifier,
    sealed: Sealed,
    facts: Mapping[str, Any],
    state: Mapping[str, Tensor],
) -> TextEncoder:
    """Give an encoder with a head the weights of a checkpoint, and have it in evaluation mode.

    Args:
        sealed, facts: as `opened` gives them.
        state: as `stored_in` gives it.
    Returns:
        What turns texts into its input.
    Raises:
        SealError: weights are too large for any answer to be finite.
    """
    _fill(model, state)
    tokenise = tokenizer_in(sealed, facts)
    ids, mask = map(torch.from_numpy, tokenise.encode(["a"]))
    with torch.inference_mode():
        finite = bool(model.eval()(ids, mask).isfinite().all())
    if not finite:
        raise SealError(f"{shown(sealed.path)}: what its model says of a text is not finite")
    return tokenise


def _fill(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Give a model the weights of a checkpoint: all of them, and no others."""
    wrong = set(state) ^ set(stored_weights(model))
    if wrong:
        where = "has a surplus" if min(wrong) in state else "lacks the"
        raise ValueError(f"{WEIGHTS} {where} weight {min(wrong)}")
    # Not strict: the other names of a shared weight are not stored.
    model.load_state_dict(state, strict=False)
