"""From token numbers of texts to the batch that a model reads."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from retort.core.errors import ConfigError, DataError
from retort.data.tokenizers.special_tokens import PADDING, SpecialTokens


class Tokens(NamedTuple):
    """Texts as a model reads them.

    Attributes:
        ids: int64 [texts, length], token numbers with special tokens, padded on the right.
        mask: int64, same shape; 1 where there is a token, 0 where there is padding.
    """

    ids: NDArray[np.int64]
    mask: NDArray[np.int64]


class Collator:
    """Puts special tokens around texts, cuts what is too long, and pads what is shorter.

    A batch is as long as its longest text, rounded up to a multiple of `pad_to`, and at most
    `max_tokens`.
    """

    def __init__(
        self,
        special: SpecialTokens,
        max_tokens: int,
        pad_to: int = 1,
        *,
        name: str = "tokenizer.json",
    ) -> None:
        """
        Args:
            max_tokens: the most that the model reads of a text, special tokens included.
            name: what errors call the tokenizer.
        Raises:
            ConfigError: `max_tokens` leaves no room beside the special tokens.
            DataError: the tokenizer has no padding token.
        """
        if max_tokens <= special.around:
            raise ConfigError(
                f"data.max_tokens must be over {special.around}, the special tokens of {name}"
            )
        if special.padding is None:
            raise DataError(f"{name}: has no padding token ({' or '.join(PADDING)})")
        self.max_tokens = max_tokens
        self._pad_to = pad_to
        self._padding = special.padding
        self._prefix = np.array(special.prefix, np.int64)
        self._suffix = np.array(special.suffix, np.int64)

    @property
    def around(self) -> int:
        """Number of special tokens that every text gets."""
        return len(self._prefix) + len(self._suffix)

    def kept(self, counts: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many tokens the model sees, special ones included, of texts that have so many."""
        kept: NDArray[np.int64] = np.minimum(counts + self.around, self.max_tokens)
        return kept

    def padded(self, counts: NDArray[np.int64]) -> NDArray[np.int64]:
        """The length of a batch of each text alone, by how many tokens each has."""
        multiples = -(-self.kept(counts) // self._pad_to) * self._pad_to
        padded: NDArray[np.int64] = np.minimum(multiples, self.max_tokens)
        return padded

    def batch(self, texts: Sequence[NDArray[Any]]) -> Tokens:
        """The batch of texts in their order.

        Args:
            texts: token numbers of each, without special tokens.
        """
        counts = np.array([len(text) for text in texts], np.int64)
        kept = self.kept(counts)
        length = int(self.padded(counts).max(initial=self.around))
        before, after = len(self._prefix), len(self._suffix)
        ids = np.full((len(texts), length), self._padding, np.int64)
        ids[:, :before] = self._prefix
        for row, text, end in zip(ids, texts, (kept - after).tolist(), strict=True):
            row[before:end] = text[: end - before]
            row[end : end + after] = self._suffix
        return Tokens(ids, (np.arange(length) < kept[:, None]).astype(np.int64))
