"""Texts to token numbers without special tokens: the fastest way that is exact for a tokenizer.

Every encoder gives the numbers of the `tokenizers` library. Which one serves a `tokenizer.json` is
read from its content; the library itself is used wherever no faster way is known to be equal.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, Protocol

import numpy as np
from tokenizers import Tokenizer

from retort.core.errors import DataError
from retort.data.tokenizers.character_tables import served, tables_for
from retort.data.tokenizers.encoded import Encoded
from retort.data.tokenizers.library import (
    LibraryEncoder,
    load_tokenizer,
    token_dtype,
    vocabulary_size,
)
from retort.data.tokenizers.spellings import SpecialInText, Spellings, as_read
from retort.data.tokenizers.wordpiece import WordPieceEncoder, supports

_SAMPLE = (
    "",
    " ",
    "The quick brown fox, it's 12,345.67 dollars!\r\n\tdon't WE'LL  you're\n\n  x   ",
    "na\u00efve cafe\u0301 \u00a33bn \u2014 \u201cquoted\u201d \u00a0 \u2028\u3000 \ufeff \u200d \ufffd",
    "\u4e2d\u6587\u5b57 \u304b\u306a \ud55c\uad6d\uc5b4 \u0627\u0644\u0639\u0631\u0628\u064a\u0629 "
    "\u0939\u093f\u0928\u094d\u0926\u0940 \u0130\u0131\u017f\u01c5 \U0001f469\u200d\U0001f680\U0001f1ec\U0001f1e7",
    "\x00\x01\x1b\x7f\x85 \x0b\x0c \x1c\x1f",
    "a" * 500 + " " + "\u00e9" * 200 + "1234567890" * 20 + " " * 50 + "\n" * 20,
)


class Encoder(Protocol):
    """What turns texts into token numbers."""

    @property
    def name(self) -> str:
        """How it works, for reports."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Little-endian uint16, or uint32 if the vocabulary needs it."""

    @property
    def vocabulary_size(self) -> int:
        """One more than the largest token number."""

    def encode(self, texts: Sequence[str]) -> Encoded:
        """The token numbers of texts, without special tokens around them."""


class GigatokenEncoder:
    """Byte-level BPE by the gigatoken library; a text that it reads in another way is left to the
    `tokenizers` library."""

    name = "gigatoken"

    def __init__(
        self,
        definition: bytes,
        library: LibraryEncoder,
        spellings: Spellings,
        renewal: int = 1 << 28,
    ) -> None:
        """
        Args:
            library: the same tokenizer.
            spellings: of its special tokens, which gigatoken always takes for tokens.
            renewal: characters after which the library's tokenizer is made anew, because it
                remembers every word that it has seen.
        Raises:
            Exception: of the library's own choice, if it cannot serve the definition.
        """
        import gigatoken  # with what it needs, slow to import and large

        self._load = partial(gigatoken.Tokenizer.from_json, definition)
        self._tokenizer = self._load()
        self._renewal = renewal
        self._seen = 0
        self._library = library
        self._spellings = None if spellings.policy == "special" else spellings
        self._tables = tables_for(definition)
        self.dtype = library.dtype
        self.vocabulary_size = library.vocabulary_size

    def encode(self, texts: Sequence[str]) -> Encoded:
        """The token numbers of texts, without special tokens around them."""
        odd = set() if self._spellings is None else self._spellings.among(texts)
        agree = self._tables.agree
        odd.update(
            place for place, text in enumerate(texts) if not text.isascii() and not agree(text)
        )
        if not odd:
            return self._encode(texts)
        left = sorted(odd)
        ours = self._encode([text for place, text in enumerate(texts) if place not in odd])
        theirs = self._library.encode([texts[place] for place in left]).split()
        pieces, lengths = ours.split(), ours.lengths.tolist()
        for place, piece in zip(left, theirs, strict=True):
            pieces.insert(place, piece)
            lengths.insert(place, len(piece))
        return Encoded(np.concatenate(pieces), np.array(lengths, np.int64))

    def _encode(self, texts: Sequence[str]) -> Encoded:
        if not texts:
            return Encoded(np.zeros(0, self.dtype), np.zeros(0, np.int64))
        if self._seen > self._renewal:
            self._tokenizer = self._load()
            self._seen = 0
        self._seen += sum(map(len, texts))
        layout = self._tokenizer.encode_batch(list(texts), parallel=False).layout
        ids = np.asarray(layout.content.data).astype(self.dtype)
        return Encoded(ids, np.diff(np.asarray(layout.offsets.data)).astype(np.int64))


@dataclass(frozen=True)
class EncoderRecipe:
    """Which encoder serves a tokenizer: found out once, made in as many processes as one likes.

    Attributes:
        definition: content of the `tokenizer.json`.
        dtype, vocabulary_size: as of the encoder.
        special_in_text: what is done with special tokens that texts spell.
    """

    kind: Literal["wordpiece", "gigatoken", "tokenizers"]
    definition: bytes = field(repr=False)
    dtype: np.dtype[Any]
    vocabulary_size: int
    special_in_text: SpecialInText = "text"

    def spellings(self) -> Spellings:
        """Finds the special tokens that texts spell, for one process."""
        tokenizer = load_tokenizer(self.definition, special_in_text=self.special_in_text)
        return Spellings(tokenizer, json.loads(self.definition), self.special_in_text)

    def make(self) -> Encoder:
        """The encoder, for one process."""
        definition = as_read(self.definition, self.special_in_text)
        tokenizer = load_tokenizer(definition, special_in_text=self.special_in_text)
        if self.kind == "gigatoken":
            return GigatokenEncoder(self.definition, LibraryEncoder(tokenizer), self.spellings())
        if self.kind == "wordpiece":
            content = json.loads(definition)
            return WordPieceEncoder(tokenizer, content, self.dtype, self.vocabulary_size)
        return LibraryEncoder(tokenizer)


def choose_encoder(
    tokenizer: Tokenizer,
    definition: bytes,
    name: str = "tokenizer.json",
    special_in_text: SpecialInText = "text",
) -> EncoderRecipe:
    """The fastest exact encoder for a tokenizer.

    Args:
        tokenizer: as `load_tokenizer` gives it.
        definition: the content of its `tokenizer.json`.
        name: what errors call the file.
        special_in_text: what is done with special tokens that texts spell.
    Raises:
        DataError: it encodes at random (BPE dropout).
    """
    content: Mapping[str, Any] = json.loads(definition)
    model = content["model"]
    if model.get("dropout"):
        raise DataError(f"{name}: model.dropout makes its output random; set it to null")
    size = vocabulary_size(tokenizer)
    dtype = token_dtype(size)
    if supports(content):
        return EncoderRecipe("wordpiece", definition, dtype, size, special_in_text)
    recipe = EncoderRecipe("gigatoken", definition, dtype, size, special_in_text)
    if model["type"] == "BPE" and _agrees(recipe, LibraryEncoder(tokenizer), content):
        return recipe
    return EncoderRecipe("tokenizers", definition, dtype, size, special_in_text)


def encoder_for(
    definition: bytes, name: str = "tokenizer.json", special_in_text: SpecialInText = "text"
) -> Encoder:
    """An encoder for this process; raises as `load_tokenizer` and `choose_encoder`."""
    tokenizer = load_tokenizer(definition, name, special_in_text)
    return choose_encoder(tokenizer, definition, name, special_in_text).make()


def _agrees(recipe: EncoderRecipe, library: LibraryEncoder, content: Mapping[str, Any]) -> bool:
    """Whether gigatoken can serve the definition and agrees with the library on odd text."""
    added = [token["content"] for token in content.get("added_tokens", ())]
    sample = [*_SAMPLE, *added, *(f"so {token}{token} it\n{token} is" for token in added[:64])]
    found = served(lambda: recipe.make().encode(sample))
    expected = library.encode(sample)
    return (
        found is not None
        and np.array_equal(found.lengths, expected.lengths)
        and np.array_equal(found.ids, expected.ids)
    )
