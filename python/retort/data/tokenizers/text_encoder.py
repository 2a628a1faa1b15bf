"""From texts to the batch that a model reads, by the steps of a token store and its reader."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retort.data.tokenizers.collator import Collator, Tokens
from retort.data.tokenizers.library import LibraryEncoder, load_tokenizer
from retort.data.tokenizers.special_tokens import special_tokens
from retort.data.tokenizers.spellings import SpecialInText, as_read


class TextEncoder:
    """A `tokenizer.json` of the `tokenizers` library, and the most tokens that a model reads."""

    def __init__(
        self,
        definition: bytes,
        max_tokens: int,
        name: str = "tokenizer.json",
        special_in_text: SpecialInText = "text",
    ) -> None:
        """
        Args:
            definition: the content of a `tokenizer.json`.
            max_tokens: the most of a text that is kept, special tokens included.
            name: what errors call the file.
            special_in_text: of the token store that the model learned from: `special` finds special
                tokens in texts, all else reads them as the characters that they are.
        Raises:
            DataError: the definition cannot be read, or has no padding token.
            ConfigError: max_tokens leaves no room beside the special tokens.
        """
        special = special_tokens(load_tokenizer(definition, name))
        self._collator = Collator(special, max_tokens, name=name)
        read = as_read(definition, special_in_text)
        self._encoder = LibraryEncoder(load_tokenizer(read, name, special_in_text))
        self.special_in_text = special_in_text
        self.definition = definition

    def reading(self, special_in_text: SpecialInText) -> "TextEncoder":
        """The same, which treats special tokens in texts in this way."""
        return TextEncoder(self.definition, self.max_tokens, special_in_text=special_in_text)

    @classmethod
    def from_file(cls, path: Path, max_tokens: int) -> "TextEncoder":
        """Read a `tokenizer.json`."""
        return cls(path.read_bytes(), max_tokens, str(path))

    @property
    def max_tokens(self) -> int:
        """The most of a text that is kept, special tokens included."""
        return self._collator.max_tokens

    @property
    def special(self) -> int:
        """Number of special tokens that every text gets."""
        return self._collator.around

    @property
    def vocabulary_size(self) -> int:
        """One more than the largest token number."""
        return self._encoder.vocabulary_size

    def encode(self, texts: Sequence[str]) -> Tokens:
        """Texts as long as the longest of them; the tokens of one do not depend on the others."""
        return self._collator.batch(self._encoder.encode(texts).split())

    def read(self, text: str) -> tuple[NDArray[np.int64], bool]:
        """One text's token numbers, int64 [tokens], special ones included, and whether it had more."""
        (tokens,) = self._encoder.encode([text]).split()
        return self._collator.batch([tokens]).ids[0], len(tokens) + self.special > self.max_tokens
