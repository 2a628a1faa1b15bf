"""Checkpoints: a classifier, its tokenizer and its labels in one sealed directory.

A checkpoint loads without the network, without pickle, and without the code that trained it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel

from retort.core.digest import JSON, canonical_json
from retort.core.errors import SealError, UserError
from retort.core.seal import Sealed, sealing, verify
from retort.data.tokenise import Tokeniser

KIND = "checkpoint"
_WEIGHTS = "model.safetensors"
_ARCHITECTURE = "config.json"
_TOKENIZER = "tokenizer.json"
_CLASSIFIER = "classifier.json"
_UNUSABLE = (KeyError, TypeError, ValueError, RuntimeError, SafetensorError, UserError)


@dataclass(frozen=True)
class Checkpoint:
    """A trained classifier, ready to predict.

    Attributes:
        sealed: the verified directory that it came from.
        model: in evaluation mode, float32, on the CPU.
        tokenise: turns texts into the model's input.
        labels: names of the classes, in the order of the logits.
        threads: number of CPU threads with which its logits are the sealed ones, bit for bit.
    """

    sealed: Sealed
    model: PreTrainedModel
    tokenise: Tokeniser
    labels: tuple[str, ...]
    threads: int


def save_checkpoint(
    target: Path,
    *,
    model: PreTrainedModel,
    tokenise: Tokeniser,
    labels: Sequence[str],
    threads: int,
    inputs: Mapping[str, str],
    config: Mapping[str, JSON],
) -> Sealed:
    """Write a checkpoint and seal it.

    Args:
        inputs: digests of what it was made from (data set, pretrained weights).
        config: the resolved configuration, without local paths.
    Raises:
        StorageError: the disk is full or permission is missing; nothing is left behind.
    """
    state = {
        name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()
    }
    classifier: dict[str, JSON] = {
        "labels": list(labels),
        "max_tokens": tokenise.max_tokens,
        "threads": threads,
    }
    with sealing(target, kind=KIND, inputs=inputs, config=config) as directory:
        files = {
            _WEIGHTS: safetensors.torch.save(state, metadata={"format": "pt"}),
            _ARCHITECTURE: _architecture(model),
            _TOKENIZER: tokenise.definition,
            _CLASSIFIER: canonical_json(classifier),
        }
        for name, content in files.items():
            (directory / name).write_bytes(content)
    return verify(target, kind=KIND)


def load_checkpoint(path: Path) -> Checkpoint:
    """Verify a checkpoint, then build its model from the verified bytes.

    Raises:
        SealError: it is not sealed, truncated, altered or not a checkpoint; the file is named.
    """
    sealed = verify(path, kind=KIND)
    try:
        classifier = json.loads(sealed.read(_CLASSIFIER))
        architecture = json.loads(sealed.read(_ARCHITECTURE))
        labels = tuple(str(label) for label in classifier["labels"])
        threads = int(classifier["threads"])
        config = AutoConfig.for_model(**architecture)
        if config.num_labels != len(labels):
            raise ValueError(f"{len(labels)} labels for {config.num_labels} logits")
        model = AutoModelForSequenceClassification.from_config(config)  # type: ignore[no-untyped-call]
        model.load_state_dict(safetensors.torch.load(sealed.read(_WEIGHTS)), strict=True)
        tokenise = Tokeniser(
            sealed.read(_TOKENIZER), int(classifier["max_tokens"]), str(path / _TOKENIZER)
        )
    except SealError:
        raise  # a file that was altered after the verification
    except _UNUSABLE as error:
        detail = " ".join(str(error).split())
        raise SealError(f"{path}: is sealed but not a checkpoint of ours: {detail}") from error
    return Checkpoint(sealed, model.eval(), tokenise, labels, threads)


def _architecture(model: PreTrainedModel) -> bytes:
    """The model's `config.json`, without the directory that it was loaded from."""
    values = model.config.to_dict()
    values.pop("_name_or_path", None)
    return canonical_json(values)
