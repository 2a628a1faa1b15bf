"""Texts to token numbers by the `tokenizers` library itself."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from retort.core.errors import DataError
from retort.data.tokenizers.encoded import Encoded
from retort.data.tokenizers.spellings import SpecialInText

_BATCH = 256
"""Texts that the library encodes at a time: what it gives takes a hundred times their memory."""


class LibraryEncoder:
    """The `tokenizers` library itself, for every definition that it can read."""

    name = "tokenizers"

    def __init__(self, tokenizer: Tokenizer) -> None:
        """
        Args:
            tokenizer: as `load_tokenizer` gives it, which decides on special tokens in texts.
        """
        self._tokenizer = tokenizer
        self.vocabulary_size = vocabulary_size(tokenizer)
        self.dtype = token_dtype(self.vocabulary_size)

    def encode(self, texts: Sequence[str]) -> Encoded:
        """The token numbers of texts, without special tokens around them."""
        found = [np.zeros(0, self.dtype)]
        for start in range(0, len(texts), _BATCH):
            batch = list(texts[start : start + _BATCH])
            encodings = self._tokenizer.encode_batch_fast(batch, add_special_tokens=False)
            found += [np.array(encoding.ids, self.dtype) for encoding in encodings]
        lengths = np.array([len(ids) for ids in found[1:]], np.int64)
        return Encoded(np.concatenate(found), lengths)


def load_tokenizer(
    definition: bytes, name: str = "tokenizer.json", special_in_text: SpecialInText = "text"
) -> Tokenizer:
    """The tokenizer of a definition, without the truncation and padding that it may ask for.

    Args:
        special_in_text: `special` finds special tokens in texts, all else reads their characters.
    Raises:
        DataError: the definition cannot be read.
    """
    try:
        tokenizer = Tokenizer.from_str(definition.decode("utf-8"))
    except Exception as error:  # the library raises Exception itself
        raise DataError(f"{name}: is not a tokenizer definition: {error}") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = special_in_text != "special"
    return tokenizer


def vocabulary_size(tokenizer: Tokenizer) -> int:
    """One more than the largest token number, added tokens included."""
    return max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1) + 1


def token_dtype(vocabulary_size: int) -> np.dtype[Any]:
    """The smallest of uint16 and uint32 that holds every token number, little-endian."""
    return np.dtype("<u2" if vocabulary_size <= 1 << 16 else "<u4")
