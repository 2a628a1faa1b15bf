"""Characters that gigatoken takes for something else than the `tokenizers` library does.

Each has its own tables of what is a letter, a digit or a space, of another version of Unicode; and
a letter that is none for the other divides words in other places. Which characters these are is
found out by asking both, for 256 neighbours at a time, when the first of them comes up. Both are
asked by a tokenizer that divides text as the one in question and merges nothing but a character
with what stands beside it, so that every difference shows.
"""

import json
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
from tokenizers import Tokenizer, pre_tokenizers

_BLOCK = 256
_BESIDE = "aA1! \n'"
_TEXT = "a{0}aA{0}A1{0}1!{0}! {0} {0}'s\n{0}\n{0}"
_SURROGATES = range(0xD800, 0xE000)
_LEAD, _CONTINUED = range(0xC2, 0xF5), range(0x80, 0xC0)
T = TypeVar("T")


class CharacterTables:
    """Tells texts that both read alike from others. One for each process: it learns."""

    def __init__(self, probe: bytes) -> None:
        """
        Args:
            probe: a `tokenizer.json` that shows where text is divided.
        Raises:
            Exception: of gigatoken's choice, if it does not know how the probe divides text.
        """
        import gigatoken  # with what it needs, slow to import and large

        self._ours = gigatoken.Tokenizer.from_json(probe)
        self._library = Tokenizer.from_str(probe.decode())
        self._known: set[int] = set()
        self._others: set[str] = set()
        self._learn(0)

    def agree(self, text: str) -> bool:
        """Whether both find the same words and marks in a text."""
        try:
            text.encode("latin-1")  # a copy, unless it fails: ten times as fast as a search
        except UnicodeEncodeError:
            pass
        else:
            return not self._others or self._others.isdisjoint(text)
        while (met := self._unknown.search(text)) is not None:
            if met.group() in self._others:
                return False
            self._learn(ord(met.group()) // _BLOCK)
        return True

    def _learn(self, block: int) -> None:
        """Ask both about the characters of a block."""
        codes = range(block * _BLOCK, (block + 1) * _BLOCK)
        characters = [chr(code) for code in codes if code not in _SURROGATES]
        texts = [_TEXT.format(one) for one in characters]
        layout = self._ours.encode_batch(texts, parallel=False).layout
        ids, ends = np.asarray(layout.content.data), np.asarray(layout.offsets.data)[1:-1]
        expected = self._library.encode_batch_fast(texts, add_special_tokens=False)
        for character, ours, library in zip(characters, np.split(ids, ends), expected, strict=True):
            if ours.tolist() != library.ids:
                self._others.add(character)
        self._known.update(codes)
        agreed = np.array(sorted(self._known - set(map(ord, self._others))))
        runs = np.split(agreed, np.flatnonzero(np.diff(agreed) > 1) + 1)
        ranges = (f"{re.escape(chr(run[0]))}-{re.escape(chr(run[-1]))}" for run in runs)
        self._unknown = re.compile(f"[^{''.join(ranges)}]")


def tables_for(definition: bytes) -> CharacterTables:
    """The tables of what divides text in a `tokenizer.json` of byte-level BPE, with all that this
    process has learned of them; raises as they do."""
    return _tables(json.dumps(_probe(json.loads(definition))).encode())


_tables = lru_cache(maxsize=4)(CharacterTables)


def _probe(definition: dict[str, Any]) -> dict[str, Any]:
    """A tokenizer that divides text as `definition` does, and shows where."""
    symbols = _symbols()
    vocabulary = {symbol: byte for byte, symbol in enumerate(symbols)}
    merges = [(symbols[ord("'")], symbols[ord("s")])]
    for beside in map(ord, _BESIDE):
        merges += [(symbols[beside], symbols[byte]) for byte in _LEAD]
        merges += [(symbols[byte], symbols[beside]) for byte in _CONTINUED]
    for first, second in merges:
        vocabulary.setdefault(first + second, len(vocabulary))
    return {
        **definition,
        "added_tokens": [],
        "post_processor": None,
        "truncation": None,
        "padding": None,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": vocabulary,
            "merges": [list(pair) for pair in merges],
        },
    }


def _symbols() -> list[str]:
    """The character that byte-level BPE writes for each byte: itself if it can be seen, else one of
    those from U+0100 on, in order (GPT-2, Radford et al. 2019)."""
    seen = set(pre_tokenizers.ByteLevel.alphabet())
    others = iter(sorted(one for one in seen if ord(one) > 255))
    return [chr(byte) if chr(byte) in seen else next(others) for byte in range(256)]


def served(call: Callable[[], T]) -> T | None:
    """What a call of gigatoken gives; None where it cannot serve a definition, which it says in many
    ways, also by a panic."""
    try:
        return call()
    except ImportError:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        return None
