"""The token store: a sealed directory of shards, read through the memory map of each.

It holds `tokenizer.json`, the shards, and `store.json`, which says what they are (`StoreFacts`).
One that was prepared from documents also holds what was found out about them.
"""

import json
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retort.core.digest import canonical_json, sha256_bytes
from retort.core.errors import DataError, SealError
from retort.core.seal import Sealed, verify
from retort.data.store.shards import Shard, ShardFacts, map_shard
from retort.data.tokenizers.library import load_tokenizer, token_dtype, vocabulary_size
from retort.data.tokenizers.special_tokens import SpecialTokens
from retort.data.tokenizers.spellings import SpecialInText

KIND = "token-store"
FACTS = "store.json"
TOKENIZER = "tokenizer.json"
REPORT = "report.html"
VALIDATION = "validation.json"
FORMAT = 1
_BEFORE: SpecialInText = "special"
"""What stores did that do not say."""


@dataclass(frozen=True)
class StoreFacts:
    """The content of `store.json`. Labels are numbered in their order here.

    Attributes:
        special_in_text: how special tokens that texts spell were read.
    """

    dtype: str
    vocabulary_size: int
    labels: tuple[str, ...]
    special: SpecialTokens
    parts: Mapping[str, tuple[ShardFacts, ...]]
    special_in_text: SpecialInText

    def to_bytes(self) -> bytes:
        """As canonical JSON."""
        return canonical_json({"format": FORMAT, **asdict(self)})

    @classmethod
    def from_bytes(cls, content: bytes) -> "StoreFacts":
        """
        Raises:
            AttributeError, KeyError, TypeError, ValueError: these are not the facts of a store.
        """
        value = json.loads(content)
        if value["format"] != FORMAT:
            raise ValueError(f"format {value['format']!r}; this program reads {FORMAT}")
        special = value["special"]
        return cls(
            dtype=value["dtype"],
            vocabulary_size=value["vocabulary_size"],
            labels=tuple(value["labels"]),
            special=SpecialTokens(
                prefix=tuple(special["prefix"]),
                suffix=tuple(special["suffix"]),
                padding=special["padding"],
                boundary=special["boundary"],
            ),
            parts={
                part: tuple(ShardFacts(**shard) for shard in shards)
                for part, shards in value["parts"].items()
            },
            special_in_text=value.get("special_in_text", _BEFORE),
        )


class StorePart:
    """The documents of one part, numbered in the order in which they were written."""

    def __init__(self, shards: Sequence[Shard]) -> None:
        self.shards = tuple(shards)
        counts = [len(shard.labels) for shard in self.shards]
        self._starts = [0, *np.cumsum(counts, dtype=np.int64).tolist()]

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def tokens(self) -> int:
        """Number of tokens, boundaries not counted."""
        return sum(shard.tokens for shard in self.shards)

    def document(self, number: int) -> NDArray[Any]:
        """The token numbers of a document: a read-only view, uint16 or uint32."""
        shard, place = self._find(number)
        return shard.document(place)

    def digest(self, number: int) -> str:
        """The first half of the SHA-256 of a document's text, 32 hexadecimal digits."""
        shard, place = self._find(number)
        digest: bytes = shard.digests[place].tobytes()
        return digest.hex()

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """The label number of each document; -1 without a label."""
        return self._joined([shard.labels for shard in self.shards])

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """The number of tokens of each document."""
        return self._joined([np.diff(shard.offsets) - 1 for shard in self.shards])

    def over(self, tokens: int) -> tuple[int, int]:
        """How many documents have more than `tokens` tokens, and how many tokens those are over."""
        excess = self.lengths - tokens
        longer = excess > 0
        return int(longer.sum()), int(excess[longer].sum())

    @staticmethod
    def _joined(arrays: Sequence[NDArray[Any]]) -> NDArray[np.int64]:
        if not arrays:
            return np.zeros(0, np.int64)
        return np.concatenate(arrays).astype(np.int64)

    def _find(self, number: int) -> tuple[Shard, int]:
        if not 0 <= number < len(self):
            raise IndexError(f"document {number} of {len(self)}")
        shard = bisect_right(self._starts, number) - 1
        return self.shards[shard], number - self._starts[shard]


@dataclass(frozen=True)
class TokenStore:
    """A verified token store."""

    sealed: Sealed
    facts: StoreFacts
    tokenizer: bytes
    parts: Mapping[str, StorePart]

    @classmethod
    def open(
        cls, path: Path, tokenizer: bytes | None = None, seal: str | None = None
    ) -> "TokenStore":
        """Verify a store and map its shards.

        Args:
            tokenizer: the `tokenizer.json` of the model that will read it, if there is one.
            seal: the one that it must have; see `retort.core.seal.verify`.
        Raises:
            UserError: `seal` is not a seal.
            SealError: it is not sealed, truncated, altered, has another seal, or is not a token
                store; the file is named.
            DataError: it was made with another tokenizer than `tokenizer`.
        """
        sealed = verify(path, kind=KIND, seal=seal)
        try:
            facts = StoreFacts.from_bytes(sealed.read(FACTS))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise SealError(
                f"{path / FACTS}: is not the facts of a token store: {error}"
            ) from error
        definition = sealed.read(TOKENIZER)
        _check_tokenizer(sealed, facts, definition)
        if tokenizer is not None and tokenizer != definition:
            raise DataError(
                f"{path}: was made with another tokenizer than the model's; prepare it again"
            )
        parts = {
            part: StorePart([_open_shard(path, facts, shard) for shard in shards])
            for part, shards in facts.parts.items()
        }
        return cls(sealed, facts, definition, parts)

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels, in the order of their numbers."""
        return self.facts.labels

    def part(self, name: str) -> StorePart:
        """One part of the store.

        Raises:
            DataError: it has no such part.
        """
        if name not in self.parts:
            raise DataError(
                f"{self.sealed.path}: has no part {name!r}; it has {sorted(self.parts)}"
            )
        return self.parts[name]


def _check_tokenizer(sealed: Sealed, facts: StoreFacts, definition: bytes) -> None:
    """The tokenizer in a store is the one that its numbers came from."""
    file = sealed.path / TOKENIZER
    given = f"sha256:{sha256_bytes(definition)}"
    if sealed.manifest.inputs.get("tokenizer") != given:
        raise SealError(f"{file}: is not the tokenizer that this store was made with")
    tokenizer = load_tokenizer(definition, str(file))
    size = vocabulary_size(tokenizer)
    if (facts.vocabulary_size, facts.dtype) != (size, token_dtype(size).name):
        raise SealError(
            f"{file}: does not fit the store: it has {size} tokens, "
            f"{FACTS} says {facts.vocabulary_size} of {facts.dtype}"
        )


def _open_shard(path: Path, facts: StoreFacts, expected: ShardFacts) -> Shard:
    file = path / expected.file
    shard = map_shard(file)
    found = (shard.input, len(shard.labels), shard.tokens, shard.slots.dtype.name)
    if found != (expected.input, expected.documents, expected.tokens, facts.dtype):
        raise SealError(f"{file}: is not the shard that {FACTS} describes")
    if shard.labels.min() < -1 or shard.labels.max() >= len(facts.labels):
        raise SealError(f"{file}: has a label number that {FACTS} does not know")
    return shard
