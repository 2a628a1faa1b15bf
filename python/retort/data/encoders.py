"""Texts to token numbers without special tokens: the fastest way that is exact for a tokenizer.

Every encoder gives the numbers of the `tokenizers` library. Which one serves a `tokenizer.json` is
read from its content; the library itself is used wherever no faster way is known to be equal.
"""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from retort.core.errors import DataError
from retort.data.wordpiece import WordPieceEncoder, supports

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

    def encode(self, texts: Sequence[str]) -> list[NDArray[Any]]:
        """The token numbers of each text, without special tokens around it."""


class LibraryEncoder:
    """The `tokenizers` library itself, for every definition that it can read."""

    name = "tokenizers"

    def __init__(self, tokenizer: Tokenizer, dtype: np.dtype[Any], vocabulary_size: int) -> None:
        self._tokenizer = tokenizer
        self.dtype = dtype
        self.vocabulary_size = vocabulary_size

    def encode(self, texts: Sequence[str]) -> list[NDArray[Any]]:
        """The token numbers of each text, without special tokens around it."""
        encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.array(encoding.ids, self.dtype) for encoding in encodings]


class GigatokenEncoder:
    """Byte-level BPE by the gigatoken library."""

    name = "gigatoken"

    def __init__(
        self,
        definition: bytes,
        dtype: np.dtype[Any],
        vocabulary_size: int,
        renewal: int = 1 << 28,
    ) -> None:
        """
        Args:
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
        self.dtype = dtype
        self.vocabulary_size = vocabulary_size

    def encode(self, texts: Sequence[str]) -> list[NDArray[Any]]:
        """The token numbers of each text, without special tokens around it."""
        if not texts:
            return []
        if self._seen > self._renewal:
            self._tokenizer = self._load()
            self._seen = 0
        self._seen += sum(map(len, texts))
        layout = self._tokenizer.encode_batch(list(texts), parallel=False).layout
        offsets = np.asarray(layout.offsets.data)
        ids = np.asarray(layout.content.data).astype(self.dtype)
        return [ids[start:end] for start, end in pairwise(offsets)]


def encoder_for(definition: bytes, name: str = "tokenizer.json") -> Encoder:
    """The fastest exact encoder for the content of a `tokenizer.json`.

    Args:
        name: what errors call the file.
    Raises:
        DataError: it cannot be read, or encodes at random (BPE dropout).
    """
    tokenizer = load_tokenizer(definition, name)
    content: Mapping[str, Any] = json.loads(definition)
    model = content["model"]
    if model.get("dropout"):
        raise DataError(f"{name}: model.dropout makes its output random; set it to null")
    size = vocabulary_size(tokenizer)
    dtype = token_dtype(size)
    if supports(content):
        return WordPieceEncoder(tokenizer, content, dtype, size)
    library = LibraryEncoder(tokenizer, dtype, size)
    if model["type"] == "BPE":
        fast = _gigatoken(definition, library, content)
        if fast is not None:
            return fast
    return library


def load_tokenizer(definition: bytes, name: str = "tokenizer.json") -> Tokenizer:
    """The tokenizer of a definition, without the truncation and padding that it may ask for.

    Raises:
        DataError: the definition cannot be read.
    """
    try:
        tokenizer = Tokenizer.from_str(definition.decode("utf-8"))
    except Exception as error:  # the library raises Exception itself
        raise DataError(f"{name}: is not a tokenizer definition: {error}") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def vocabulary_size(tokenizer: Tokenizer) -> int:
    """One more than the largest token number, added tokens included."""
    return max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1) + 1


def token_dtype(vocabulary_size: int) -> np.dtype[Any]:
    """The smallest of uint16 and uint32 that holds every token number, little-endian."""
    return np.dtype("<u2" if vocabulary_size <= 1 << 16 else "<u4")


def _gigatoken(
    definition: bytes, library: LibraryEncoder, content: Mapping[str, Any]
) -> GigatokenEncoder | None:
    """gigatoken, if it can serve the definition and agrees with the library on odd text."""
    added = [token["content"] for token in content.get("added_tokens", ())]
    sample = [*_SAMPLE, *added, *(f"so {token}{token} it\n{token} is" for token in added[:64])]
    try:
        fast = GigatokenEncoder(definition, library.dtype, library.vocabulary_size)
        found = fast.encode(sample)
    except ImportError:
        raise
    except BaseException as error:  # it refuses what it cannot serve in many ways, also by a panic
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        return None
    expected = library.encode(sample)
    equal = all(np.array_equal(ours, theirs) for ours, theirs in zip(found, expected, strict=True))
    return fast if equal else None
