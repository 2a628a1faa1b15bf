"""Pretrained weights, offline first, and the classifier that starts from them."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import transformers
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel

from retort.core.digest import canonical_json, sha256_bytes, sha256_file
from retort.core.errors import ConfigError, DataError
from retort.core.packages import package_directory
from retort.data.hub import hub_files
from retort.data.tokenise import Tokeniser
from retort.models.config import WeightsConfig
from retort.models.determinism import seed_from

_log = logging.getLogger(__name__)

TOKENIZER = "tokenizer.json"
_FILES = ("config.json", "model.safetensors", TOKENIZER)


@dataclass(frozen=True)
class PretrainedWeights:
    """A directory with a pretrained model, and the digest of its three files."""

    directory: Path
    digest: str


def find_weights(config: WeightsConfig) -> PretrainedWeights:
    """The first of directory, package and hub that the recipe names and that has the weights.

    Only a package that is not installed lets the search go on to the hub: a directory that the
    user named is meant.

    Raises:
        DataError: a directory or file is missing; it is named.
        HubUnavailable: the hub is allowed, needed, and cannot be reached.
    """
    directory = _locate(config)
    for name in _FILES:
        if not (directory / name).is_file():
            raise DataError(f"{directory / name}: is missing; pretrained weights are {_FILES}")
    digests = {name: sha256_file(directory / name) for name in _FILES}
    found = PretrainedWeights(directory, f"sha256:{sha256_bytes(canonical_json(digests))}")
    _log.info("pretrained weights: %s", found.digest)
    return found


def build_classifier(
    weights: PretrainedWeights, labels: Sequence[str], tokenise: Tokeniser, seed: int
) -> PreTrainedModel:
    """The pretrained model with a new classification head, drawn from `seed`. No network.

    Raises:
        DataError: the weights cannot be read, or are not those of the architecture.
        ConfigError: documents are longer than the model allows.
    """
    transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    torch.manual_seed(seed_from(seed, "head"))
    try:
        config = AutoConfig.from_pretrained(
            weights.directory,
            local_files_only=True,
            id2label=dict(enumerate(labels)),
            label2id={label: number for number, label in enumerate(labels)},
        )
        model, report = AutoModelForSequenceClassification.from_pretrained(
            weights.directory,
            config=config,
            dtype=torch.float32,
            local_files_only=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        detail = " ".join(str(error).split())
        raise DataError(
            f"{weights.directory}: pretrained weights cannot be read: {detail}"
        ) from error
    assert isinstance(model, PreTrainedModel)
    _check_complete(weights.directory, model, set(report["missing_keys"]))
    _check_fits(model, tokenise)
    return model


def _locate(config: WeightsConfig) -> Path:
    if config.directory is not None:
        return config.directory
    if config.package is not None:
        root = package_directory(config.package)
        if root is not None:
            found = sorted(root.rglob(_FILES[1]))
            if not found:
                raise DataError(f"{root}: package {config.package} holds no {_FILES[1]}")
            _log.info("taking the weights from the package %s", config.package)
            return found[0].parent
        if config.hub is None:
            raise DataError(
                f"model.weights.package {config.package}: is not installed; "
                "install it, or allow the hub with model.weights.hub"
            )
    repository, revision = str(config.hub).split("@")
    _log.info("taking %s from the hub or its local cache", repository)
    return hub_files(repository, revision, _FILES, kind="model")


def _check_complete(directory: Path, model: PreTrainedModel, missing: set[str]) -> None:
    """Only the head may be new: a body drawn at random would train, badly and without a word."""
    body = {
        name
        for name in missing
        if name.startswith(f"{model.base_model_prefix}.") and ".pooler." not in name
    }
    if body:
        raise DataError(f"{directory}: model.safetensors lacks {min(body)} of its architecture")


def _check_fits(model: PreTrainedModel, tokenise: Tokeniser) -> None:
    positions = getattr(model.config, "max_position_embeddings", None)
    if positions is not None and tokenise.max_tokens > positions:
        raise ConfigError(
            f"data.max_tokens: {tokenise.max_tokens} is more than the model's {positions}"
        )
    rows = int(model.config.vocab_size)
    if tokenise.vocabulary_size > rows:
        raise DataError(
            f"{TOKENIZER} has {tokenise.vocabulary_size} tokens, and the model knows {rows}"
        )
