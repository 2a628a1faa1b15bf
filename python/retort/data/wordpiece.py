"""WordPiece with a word cache: the numbers of the `tokenizers` library, several times as fast.

Text is cut at white space, and what was seen before is looked up. That is exact for a
BertNormalizer followed by a BertPreTokenizer: both treat each character by itself (Unicode
decomposition reorders combining marks, but never across a space), white space ends a word and is
no token. New ASCII chunks are cut into words and punctuation and matched against the vocabulary,
longest first; the library itself encodes everything else that is new.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

_SPACE = re.compile(rb"[ \t\n\r]")
_CHUNK = re.compile(rb"[^ \t\n\r]+")
_PIECE = re.compile(rb"[A-Za-z0-9]+|[!-/:-@\[-`{-~]")
_NOT_PRINTABLE = re.compile(rb"[^!-~]")
_LONGEST_KEPT = 64
"""Longest chunk that is kept, in bytes: what is longer hardly comes twice."""
_SEGMENT = 1 << 20
"""Bytes of text that are cut into chunks at a time, which bounds the memory for one document."""


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
            tokenizer: made from `definition`, without truncation and padding.
            definition: a `tokenizer.json` that `supports` accepts.
            dtype: of the token numbers, little-endian.
            cache_size: number of chunks kept (about 200 bytes each); beyond it, it starts anew.
        """
        self.dtype = dtype
        self.vocabulary_size = vocabulary_size
        self._words = _Words(tokenizer, definition, dtype, cache_size)

    def encode(self, texts: Sequence[str]) -> list[NDArray[Any]]:
        """The token numbers of each text, without special tokens around it."""
        return [np.frombuffer(self._encode(text.encode("utf-8")), self.dtype) for text in texts]

    def _encode(self, data: bytes) -> bytes:
        # bytes.split also cuts at these two, which the normaliser removes: "a\fb" is one word.
        plain = b"\x0b" not in data and b"\x0c" not in data
        numbers = self._words.__getitem__
        return b"".join(
            b"".join(map(numbers, segment.split() if plain else _CHUNK.findall(segment)))
            for segment in _segments(data)
        )


def _segments(data: bytes) -> Iterator[bytes]:
    """Cut a long text at white space."""
    start = 0
    while len(data) - start > _SEGMENT:
        space = _SPACE.search(data, start + _SEGMENT)
        if space is None:
            break
        yield data[start : space.start()]
        start = space.end()
    yield data[start:] if start else data


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
        model = definition["model"]
        vocabulary: Mapping[str, int] = model["vocab"]
        self._tokenizer = tokenizer
        self._dtype = dtype
        self._cache_size = cache_size
        self._lowercase = bool(definition["normalizer"]["lowercase"])
        self._longest = int(model["max_input_chars_per_word"])
        self._prefix = model["continuing_subword_prefix"].encode("utf-8")
        self._vocabulary = {
            token.encode("utf-8"): number.to_bytes(dtype.itemsize, "little")
            for token, number in vocabulary.items()
            if token.isascii() or token.startswith(model["continuing_subword_prefix"])
        }
        self._unknown = vocabulary[model["unk_token"]].to_bytes(dtype.itemsize, "little")
        added = [token["content"].lower().encode() for token in definition["added_tokens"]]
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
        return self._word(chunk.lower() if self._lowercase else chunk)

    def _word(self, word: bytes) -> bytes:
        """The longest match first, again and again; one unknown token if any part has none."""
        if len(word) > self._longest:
            return self._unknown
        found = []
        start = 0
        while start < len(word):
            prefix = self._prefix if start else b""
            for end in range(len(word), start, -1):
                number = self._vocabulary.get(prefix + word[start:end])
                if number is not None:
                    break
            else:
                return self._unknown
            found.append(number)
            start = end
        return b"".join(found)
