"""The token numbers that a model wants around, behind and between texts."""

from collections.abc import Sequence
from dataclasses import dataclass

from tokenizers import Tokenizer, models

PADDING = ("[PAD]", "<pad>", "<|padding|>")
"""Padding tokens by the names that tokenizers give them; the first that there is, is taken."""
_BOUNDARY = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "[SEP]")


@dataclass(frozen=True)
class SpecialTokens:
    """Token numbers that a model wants around and between texts.

    Attributes:
        prefix, suffix: before and after one text for a classifier.
        padding: behind shorter texts of a batch; None if the tokenizer has none.
        boundary: in the slot after each document; None (the slot is 0) if the tokenizer has none.
    """

    prefix: tuple[int, ...]
    suffix: tuple[int, ...]
    padding: int | None
    boundary: int | None

    @property
    def around(self) -> int:
        """How many there are around one text for a classifier."""
        return len(self.prefix) + len(self.suffix)


def special_tokens(tokenizer: Tokenizer) -> SpecialTokens:
    """What a tokenizer puts around and between texts."""
    # A token of another model: which texts this one has tokens for does not matter.
    token = Tokenizer(models.WordLevel({"a": 0}, unk_token="a")).encode("a")
    one = tokenizer.post_process(token)
    place = one.special_tokens_mask.index(0)
    return SpecialTokens(
        prefix=tuple(one.ids[:place]),
        suffix=tuple(one.ids[place + 1 :]),
        padding=_first_known(tokenizer, PADDING),
        boundary=_first_known(tokenizer, _BOUNDARY),
    )


def _first_known(tokenizer: Tokenizer, names: Sequence[str]) -> int | None:
    numbers = (tokenizer.token_to_id(name) for name in names)
    return next((number for number in numbers if number is not None), None)
