"""WordPiece with a word cache: the numbers of the `tokenizers` library, several times as fast.

Text is cut at white space, and what was seen before is looked up. That is exact for a
BertNormalizer followed by a BertPreTokenizer: both treat each character by itself (Unicode
decomposition reorders combining marks, but never across a space), white space ends a word and is
no token. A new ASCII chunk is cut into words and punctuation, each of which the library's model
divides; everything else that is new is encoded by the library as a whole. Cutting and looking up is
done for many texts at a time by Arrow.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from retort.data.tokenizers.encoded import Encoded

_PIECE = re.compile(rb"[A-Za-z0-9]+|[!-/:-@\[-`{-~]")
_NOT_PRINTABLE = re.compile(rb"[^!-~]")
_LONGEST_KEPT = 64
"""Longest chunk that is kept, in bytes: what is longer hardly comes twice."""
_SPACES_REMOVED = {0x0B: 0x01, 0x0C: 0x01}
"""White space that the normaliser's `clean_text` removes, before it could end a word, but after
added tokens were looked for: so it becomes a character that is removed as well and is no space."""


def supports(definition: Mapping[str, Any]) -> bool:
    """Whether a `tokenizer.json` is one for which cutting at white space is exact."""
    model = definition.get("model") or {}
    normalizer = definition.get("normalizer") or {}
    pre_tokenizer = definition.get("pre_tokenizer") or {}
    return (
        model.get("type") == "WordPiece"
        and normalizer.get("type") == "BertNormalizer"
        and pre_tokenizer.get("type") == "BertPreTokenizer"
        and model.get("unk_token") in model.get("vocab", ())
        and all(_within_a_chunk(token) for token in definition.get("added_tokens", ()))
    )


def _within_a_chunk(token: Mapping[str, Any]) -> bool:
    """Whether an added token can only be found inside one chunk, also after normalisation."""
    content = token["content"]
    return bool(content) and not _NOT_PRINTABLE.search(content.encode("utf-8"))


class WordPieceEncoder:
    """Encodes with a bounded cache. One for each process: it is not safe between threads."""

    name = "wordpiece-cache"

    def __init__(
        self,
        tokenizer: Tokenizer,
        definition: Mapping[str, Any],
        dtype: np.dtype[Any],
        vocabulary_size: int,
        cache_size: int = 1 << 18,
    ) -> None:
        """
        Args:
            tokenizer: as `load_tokenizer` makes it from `definition`.
            definition: a `tokenizer.json` that `supports` accepts.
            dtype: of the token numbers, little-endian.
            cache_size: number of chunks kept (about 200 bytes each); beyond it, it starts anew.
        """
        import pyarrow  # type: ignore[import-untyped]  # large, and most readers need no encoder
        import pyarrow.compute  # type: ignore[import-untyped]

        self.dtype = dtype
        self.vocabulary_size = vocabulary_size
        self._arrow = pyarrow
        self._cleans = bool(definition["normalizer"]["clean_text"])
        self._words = _Words(tokenizer, definition, dtype, cache_size)

    def encode(self, texts: Sequence[str]) -> Encoded:
        """The token numbers of texts, without special tokens around them."""
        if self._cleans:
            texts = [
                text.translate(_SPACES_REMOVED) if "\x0b" in text or "\x0c" in text else text
                for text in texts
            ]
        chunks = self._arrow.compute.ascii_split_whitespace(
            self._arrow.array(texts, "large_string")
        )
        distinct = chunks.values.dictionary_encode()
        numbers = [
            self._words[chunk]
            for chunk in distinct.dictionary.cast(self._arrow.large_binary()).to_pylist()
        ]
        ids = np.frombuffer(b"".join(numbers), self.dtype)
        counts = np.array([len(one) for one in numbers], np.int64) // self.dtype.itemsize
        places = distinct.indices.to_numpy()
        return _laid_out(ids, counts, places, chunks.offsets.to_numpy())


def _laid_out(
    ids: NDArray[Any],
    counts: NDArray[np.int64],
    places: NDArray[np.int32],
    offsets: NDArray[np.int64],
) -> Encoded:
    """The token numbers of texts from those of their distinct chunks.

    Args:
        ids: of all distinct chunks, one after the other.
        counts: int64 [distinct chunks], how many each has.
        places: int32 [chunks], the distinct chunk that each one is.
        offsets: int64 [texts + 1], the first chunk of each text.
    """
    lengths = counts[places]
    ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    # Token t of a chunk that begins at `start` in `ids` and at `at` in the result: start - at + t.
    shifts = (np.cumsum(counts) - counts)[places] - ends[:-1]
    taken = ids[np.repeat(shifts, lengths) + np.arange(ends[-1])]
    return Encoded(taken, np.diff(ends[offsets]))


class _Words(dict[bytes, bytes]):
    """Chunk of UTF-8 text without white space -> its token numbers as bytes."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        definition: Mapping[str, Any],
        dtype: np.dtype[Any],
        cache_size: int,
    ) -> None:
        super().__init__()
        self._tokenizer = tokenizer
        self._dtype = dtype
        self._cache_size = cache_size
        self._lowercase = bool(definition["normalizer"]["lowercase"])
        self._model = tokenizer.model
        added = [
            token["content"].lower().encode()
            for token in definition["added_tokens"]
            if not (token.get("special") and tokenizer.encode_special_tokens)
        ]
        self._added = re.compile(b"|".join(map(re.escape, added))) if added else None

    def __missing__(self, chunk: bytes) -> bytes:
        numbers = self._numbers(chunk)
        if len(chunk) <= _LONGEST_KEPT:
            if len(self) >= self._cache_size:
                self.clear()
            self[chunk] = numbers
        return numbers

    def _numbers(self, chunk: bytes) -> bytes:
        if _NOT_PRINTABLE.search(chunk) or (self._added and self._added.search(chunk.lower())):
            ids = self._tokenizer.encode(chunk.decode("utf-8"), add_special_tokens=False).ids
            return np.array(ids, self._dtype).tobytes()
        pieces = _PIECE.findall(chunk)
        if len(pieces) > 1:
            return b"".join(map(self.__getitem__, pieces))
        word = chunk.decode("ascii")
        return self._word(word.lower() if self._lowercase else word)

    def _word(self, word: str) -> bytes:
        """What the library's own model finds in one word."""
        ids = [token.id for token in self._model.tokenize(word)]
        return np.array(ids, self._dtype).tobytes()
