"""Texts to token numbers of one fixed length, with every token that was cut off counted."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor

from retort.core.errors import ConfigError, DataError
from retort.data.tokenizers.spellings import PADDING, SpecialInText, as_characters


@dataclass(frozen=True)
class Tokens:
    """Token numbers of some texts.

    Attributes:
        ids: int64, [texts, max_tokens], padded on the right.
        mask: int64, same shape; 1 where there is a token, 0 where there is padding.
        truncated: number of texts that were longer than max_tokens.
        dropped: number of tokens that were cut off them, special tokens not counted.
    """

    ids: Tensor
    mask: Tensor
    truncated: int
    dropped: int

    def __len__(self) -> int:
        return len(self.ids)


class Tokeniser:
    """A `tokenizer.json` of the `tokenizers` library, at one fixed length.

    Attributes:
        special: number of special tokens that every text gets.
    """

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
            max_tokens: length of every encoded text, special tokens included.
            name: what errors call the file.
            special_in_text: of the token store that the model learned from: `special` finds special
                tokens in texts, all else reads them as the characters that they are.
        Raises:
            DataError: the definition cannot be read, or has no padding token.
            ConfigError: max_tokens leaves no room beside the special tokens.
        """
        try:
            tokenizer = Tokenizer.from_str(definition.decode("utf-8"))
        except Exception as error:  # the library raises Exception itself
            raise DataError(f"{name}: is not a tokenizer definition: {error}") from error
        special = tokenizer.num_special_tokens_to_add(False)
        if max_tokens <= special:
            raise ConfigError(
                f"data.max_tokens must be over {special}, the special tokens of {name}"
            )
        padding = next(
            (token for token in PADDING if tokenizer.token_to_id(token) is not None), None
        )
        if padding is None:
            raise DataError(f"{name}: has no padding token ({' or '.join(PADDING)})")
        pad_id = tokenizer.token_to_id(padding)
        if special_in_text != "special":
            tokenizer = Tokenizer.from_str(as_characters(definition).decode("utf-8"))
        tokenizer.enable_truncation(max_length=max_tokens)
        tokenizer.enable_padding(length=max_tokens, pad_id=pad_id, pad_token=padding)
        tokenizer.encode_special_tokens = special_in_text != "special"
        self._tokenizer = tokenizer
        self.special_in_text = special_in_text
        self.definition = definition
        self.max_tokens = max_tokens
        self.special = special

    def reading(self, special_in_text: SpecialInText) -> "Tokeniser":
        """The same, which treats special tokens in texts in this way."""
        return Tokeniser(self.definition, self.max_tokens, special_in_text=special_in_text)

    @classmethod
    def from_file(cls, path: Path, max_tokens: int) -> "Tokeniser":
        """Read a `tokenizer.json`."""
        return cls(path.read_bytes(), max_tokens, str(path))

    @property
    def vocabulary_size(self) -> int:
        """Number of tokens, added ones included."""
        return int(self._tokenizer.get_vocab_size())

    def encode(self, texts: Sequence[str]) -> Tokens:
        """Token numbers of texts; the result for one text does not depend on the others."""
        encodings = self._tokenizer.encode_batch(list(texts))
        shape = (len(encodings), self.max_tokens)
        dropped = [
            sum(piece.special_tokens_mask.count(0) for piece in encoding.overflowing)
            for encoding in encodings
        ]
        return Tokens(
            ids=torch.tensor([encoding.ids for encoding in encodings]).long().view(shape),
            mask=torch.tensor([encoding.attention_mask for encoding in encodings])
            .long()
            .view(shape),
            truncated=sum(count > 0 for count in dropped),
            dropped=sum(dropped),
        )
