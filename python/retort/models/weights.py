"""Pretrained weights, offline first, and the models that start from them."""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from torch import nn

from retort.core.digest import canonical_json, sha256_bytes, sha256_file
from retort.core.errors import ConfigError, DataError, shown
from retort.core.packages import package_directory
from retort.data.tokenizers.text_encoder import TextEncoder
from retort.models.backbones import Backbone, read_encoder
from retort.models.checkpoint import not_finite
from retort.models.classifier import TextClassifier
from retort.models.config import ArithmeticName, HeadConfig, WeightsConfig
from retort.models.packed.architecture import Architecture, architecture_of
from retort.models.packed.forms import packed_form

_log = logging.getLogger(__name__)

TOKENIZER = "tokenizer.json"
_FILES = ("config.json", "model.safetensors", TOKENIZER)
_HEAD = HeadConfig()
_DEVIATION = 0.02

HeadedT = TypeVar("HeadedT", bound=TextClassifier)


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
    directory, source = _locate(config)
    _log.info("taking the weights from %s", source)
    digests = {name: _digest(directory / name) for name in _FILES}
    found = PretrainedWeights(directory, f"sha256:{sha256_bytes(canonical_json(digests))}")
    _log.info("pretrained weights: %s", found.digest)
    return found


def find_architecture(config: WeightsConfig) -> Architecture:
    """What config.json says of the weights that a recipe names.

    Raises:
        DataError, HubUnavailable: as `find_weights`; or it cannot be read.
    """
    directory, _ = _locate(config)
    _digest(directory / _FILES[0])  # refuses it by one line if it is not there
    try:
        return _architecture(directory)
    except Exception as error:  # whatever the library does with what config.json says
        raise _unreadable(directory, error) from error


def _digest(file: Path) -> str:
    try:
        return sha256_file(file)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DataError(f"{file}: is missing; pretrained weights are {_FILES}") from error
    except OSError as error:
        raise DataError(
            f"{file}: cannot be read as pretrained weights: {error.strerror}"
        ) from error


def _architecture(directory: Path) -> Architecture:
    said = json.loads((directory / _FILES[0]).read_bytes())
    if not isinstance(said, dict):
        raise ValueError(f"{_FILES[0]} is not a table")
    return architecture_of(said)


def _unreadable(directory: Path, error: Exception) -> DataError:
    detail = shown(" ".join(f"{type(error).__name__}: {error}".split()))
    return DataError(f"{directory}: pretrained weights cannot be read: {detail}")


def build_classifier(
    weights: PretrainedWeights,
    labels: Sequence[str],
    tokenise: TextEncoder,
    seed: int,
    head: HeadConfig = _HEAD,
    *,
    arithmetic: ArithmeticName = "native",
) -> TextClassifier:
    """The pretrained encoder with a new classification head; see `with_new_head`."""
    return with_new_head(
        weights,
        tokenise,
        seed,
        lambda backbone: TextClassifier(backbone, head, len(labels), arithmetic=arithmetic),
        arithmetic=arithmetic,
    )


def with_new_head(
    weights: PretrainedWeights,
    tokenise: TextEncoder,
    seed: int,
    build: Callable[[Backbone], HeadedT],
    *,
    arithmetic: ArithmeticName = "native",
) -> HeadedT:
    """The pretrained encoder in a model whose head is drawn from `seed`. No network.

    Args:
        build: gives the model of an encoder.
    Raises:
        DataError: the weights cannot be read, or are not those of the architecture.
        ConfigError: documents are longer than the model allows; or as `build`.
    """
    try:
        config = _architecture(weights.directory)
        if config.is_encoder_decoder:
            raise ValueError("an encoder is needed, and this has a decoder too")
        backbone, lacking = read_encoder(weights.directory, config, arithmetic)
    except ConfigError:
        raise  # there is no portable arithmetic for it
    except Exception as error:  # whatever the libraries do with what the files say
        raise _unreadable(weights.directory, error) from error
    if lacking:  # it would train drawn at random, badly and without a word
        name = min(lacking)
        raise DataError(f"{weights.directory}: model.safetensors lacks {name} of its architecture")
    wrong = not_finite(backbone.named_parameters())
    if wrong is not None:
        raise DataError(f"{weights.directory}: the weight {wrong} is not finite")
    _check_fits(backbone, tokenise)
    model = build(backbone)
    deviation = float(getattr(config, "initializer_range", _DEVIATION))
    model.head.draw(seed, deviation, "native" if model.portable is None else "portable")
    return model


def _locate(config: WeightsConfig) -> tuple[Path, str]:
    """Where they are, and what to call the place."""
    if config.directory is not None:
        return config.directory, str(config.directory)
    if config.package is not None:
        root = package_directory(config.package)
        if root is not None:
            found = sorted(root.rglob(_FILES[1]))
            if not found:
                raise DataError(f"{root}: package {config.package} holds no {_FILES[1]}")
            return found[0].parent, f"the package {config.package}"
        if config.hub is None:
            raise DataError(
                f"model.weights.package {config.package}: is not installed; "
                "install it, or allow the hub with model.weights.hub"
            )
    from retort.data.files.hub import hub_files  # takes a tenth of a second, and few need it

    repository, revision = str(config.hub).split("@")
    return hub_files(repository, revision, _FILES, kind="model"), f"{repository} of the hub"


def _check_fits(backbone: Backbone, tokenise: TextEncoder) -> None:
    positions = _positions(backbone)
    if positions is not None and tokenise.max_tokens > positions:
        raise ConfigError(
            f"data.max_tokens: {tokenise.max_tokens} is more than the model's {positions}"
        )
    rows = int(backbone.config.vocab_size)
    if tokenise.vocabulary_size > rows:
        raise DataError(
            f"{TOKENIZER} has {tokenise.vocabulary_size} tokens, and the model knows {rows}"
        )


def _positions(backbone: Backbone) -> int | None:
    """How long a text may be. RoBERTa and its kin count positions from behind their padding's."""
    form = packed_form(backbone.config)
    if form is not None:
        return form.positions
    positions: int | None = getattr(backbone.config, "max_position_embeddings", None)
    embeddings = getattr(backbone, "embeddings", None)
    table = getattr(embeddings, "position_embeddings", None)
    if positions is None or not isinstance(table, nn.Embedding) or table.padding_idx is None:
        return positions
    return positions - table.padding_idx - 1
