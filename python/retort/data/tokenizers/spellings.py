"""Texts that spell a special token, as a page about BERT does."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

from tokenizers import Tokenizer

SpecialInText = Literal["text", "special", "refuse"]
"""What is done with them: read them as the characters that they are, as the tokens, or stop."""

_BYTE = re.compile("<0x[0-9A-F]{2}>")
_NO_TEXT = "\uffff"
"""Around a token's name it makes one that no text spells: U+FFFF is no character."""


def as_read(definition: bytes, policy: SpecialInText) -> bytes:
    """A `tokenizer.json` that gives the same token numbers, but no special one for its name, unless
    special tokens in texts are read as such.

    Not to look for special tokens in a text is not enough where they are words of the model's
    vocabulary as any other: of Unigram, or where nothing cuts `[SEP]` into pieces. BPE has them in
    its vocabulary too, and finds none: it gives what its merges make.
    """
    content: dict[str, Any] = json.loads(definition)
    model, vocabulary = content["model"], content["model"].get("vocab", {})
    if policy == "special" or "merges" in model:
        return definition
    special = {one["content"] for one in content.get("added_tokens") or () if one.get("special")}
    if model.get("byte_fallback"):
        special = {one for one in special if not _BYTE.fullmatch(one)}
    words = vocabulary if isinstance(vocabulary, Mapping) else {word for word, _ in vocabulary}
    hidden = {one: f"{_NO_TEXT}{one}{_NO_TEXT}" for one in special if one in words}
    if not hidden:
        return definition
    if isinstance(vocabulary, Mapping):
        model["vocab"] = {hidden.get(word, word): number for word, number in vocabulary.items()}
    else:
        model["vocab"] = [[hidden.get(word, word), score] for word, score in vocabulary]
    if model.get("unk_token") in hidden:
        model["unk_token"] = hidden[model["unk_token"]]
    for one in content["added_tokens"]:
        one["content"] = hidden.get(one["content"], one["content"])
    return json.dumps(content).encode()


class Spellings:
    """Finds the special tokens that a text spells, as the `tokenizers` library would."""

    def __init__(
        self, tokenizer: Tokenizer, definition: Mapping[str, Any], policy: SpecialInText
    ) -> None:
        """
        Args:
            tokenizer: made from `definition`.
            definition: the content of a `tokenizer.json`.
            policy: what is done with what is found.
        """
        special = [one for one in definition.get("added_tokens") or () if one.get("special")]
        self.policy = policy
        self._normalizer = tokenizer.normalizer
        # The library looks for these in the text as its normaliser leaves it, for the others first.
        normalized = [one for one in special if self._normalizer and one.get("normalized")]
        self._plain = _Alternatives(
            (one, one["content"]) for one in special if one not in normalized
        )
        self._normalized = _Alternatives(
            (one, self._normalizer.normalize_str(one["content"])) for one in normalized
        )

    def among(self, texts: Sequence[str]) -> set[int]:
        """The places of texts that spell one."""
        maybe = self._plain.among(texts)
        if self._normalized:
            maybe = set(range(len(texts)))
        return {place for place in maybe if self.find(texts[place])}

    def find(self, text: str) -> Sequence[str]:
        """The tokens, each as often as it comes."""
        found = self._plain.find(text)
        if self._normalized:
            found += self._normalized.find(self._normalizer.normalize_str(text))
        return found


class _Alternatives:
    """Tokens that are looked for at once."""

    def __init__(self, tokens: Iterable[tuple[Mapping[str, Any], str]]) -> None:
        self._tokens = {spelling: token for token, spelling in tokens if spelling}
        beginnings: dict[str, list[str]] = {}
        for spelling in self._tokens:
            beginnings.setdefault(spelling[0], []).append(spelling)
        # Hardly any text has these. Looking for them is ten times as fast as the expression, and
        # looking for one character three times as fast again.
        self._prefixes = [(first, _common_beginning(same)) for first, same in beginnings.items()]

    def __bool__(self) -> bool:
        return bool(self._tokens)

    def among(self, texts: Sequence[str]) -> set[int]:
        """The places of texts that one of them may be in."""
        return {
            place
            for first, prefix in self._prefixes
            for place, text in enumerate(texts)
            if first in text and prefix in text
        }

    def find(self, text: str) -> list[str]:
        if not any(first in text and prefix in text for first, prefix in self._prefixes):
            return []
        return [self._tokens[one]["content"] for one in self._expression.findall(text)]

    @cached_property
    def _expression(self) -> re.Pattern[str]:
        longest_first = sorted(self._tokens, key=lambda one: (-len(one), one))
        return re.compile("|".join(self._one(spelling) for spelling in longest_first))

    def _one(self, spelling: str) -> str:
        escaped = re.escape(spelling)
        return rf"(?<!\w){escaped}(?!\w)" if self._tokens[spelling].get("single_word") else escaped


def _common_beginning(words: Sequence[str]) -> str:
    low, high = min(words), max(words)
    differ = (place for place, (a, b) in enumerate(zip(low, high, strict=False)) if a != b)
    return low[: next(differ, len(low))]
