"""Every encoder gives the numbers of the `tokenizers` library, also for the oddest of texts."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers

from retort.core.errors import DataError
from retort.data.encoded import Encoded
from retort.data.encoders import Encoder, GigatokenEncoder, encoder_for, load_tokenizer, token_dtype
from retort.data.wordpiece import WordPieceEncoder
from tests.tiny_store import bbc_news, bert_tokenizer, byte_level_tokenizer, minilm_tokenizer

ADDED = (
    AddedToken("goalie", single_word=True, normalized=False),
    AddedToken("New-York", normalized=True),
    AddedToken("<x>", lstrip=True, rstrip=True, normalized=False),
)
FRAGMENTS = (
    *("the", "Match", "goals", "goalie", "xgoaliex", "New-York", "NEW-YORK", "new-yorks", "<x>"),
    *("[SEP]", "[MASK]", "[mask]", "[CLS][SEP]", "[MA\x00SK]", "x[SEP]y", "<|endoftext|>"),
    *(" ", "\n", "\r\n", "\t", "\x0b", "\x0c", "\x1c", "\x85", "\xa0", "\u2028", "\u3000", "\x00"),
    *("\u0301", "\u0323\u0301", "e\u0301", "é", "\u0130", "\u212a", "\ufb01", "\ufffd", "\u200d"),
    *("中文", "字", "\U0001f469\u200d\U0001f680", "\u0939\u093f", "한", "\u1100\u1161", "\ufeff"),
    *(",", "...", "!?", "_", "'s", "$3.50", "a" * 99, "a" * 101, "1" * 300, "\u2014", "“said”"),
)
TEXTS = st.lists(
    st.lists(
        st.one_of(
            st.sampled_from(FRAGMENTS),
            st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
            st.text(st.characters(max_codepoint=127), max_size=12),
        ),
        max_size=12,
    ).map("".join),
    max_size=4,
)
BERTS = [
    bert_tokenizer(added=ADDED),
    bert_tokenizer(added=ADDED, lowercase=False),
    bert_tokenizer(added=ADDED, clean_text=False),
    bert_tokenizer(added=ADDED, chinese=False, accents=False),
    bert_tokenizer(added=ADDED, clean_text=False, lowercase=False, accents=True),
]
BYTE_LEVEL_DEFINITION = byte_level_tokenizer(bbc_news()[:200])
BYTE_LEVEL = encoder_for(BYTE_LEVEL_DEFINITION)


def expected(definition: bytes, texts: list[str]) -> list[list[int]]:
    encodings = load_tokenizer(definition).encode_batch(texts, add_special_tokens=False)
    return [encoding.ids for encoding in encodings]


def found(encoder: Encoder, texts: list[str]) -> list[list[int]]:
    encoded = encoder.encode(texts)
    assert encoded.ids.dtype == encoder.dtype
    assert len(encoded.lengths) == len(texts)
    return [ids.tolist() for ids in encoded.split()]


@pytest.mark.parametrize("definition", BERTS, ids=range(len(BERTS)))
@settings(deadline=None, max_examples=300)
@given(TEXTS)
def test_the_word_cache_gives_the_numbers_of_the_library(
    definition: bytes, texts: list[str]
) -> None:
    tokenizer = load_tokenizer(definition)
    for cache_size in (1 << 10, 2):
        encoder = WordPieceEncoder(
            tokenizer, json.loads(definition), np.dtype("<u2"), 200, cache_size
        )
        assert found(encoder, texts) == expected(definition, texts)
        assert found(encoder, texts) == expected(definition, texts), "and again from the cache"


@settings(deadline=None, max_examples=300)
@given(TEXTS)
def test_byte_level_bpe_gives_the_numbers_of_the_library(texts: list[str]) -> None:
    assert BYTE_LEVEL.name == "gigatoken"
    assert found(BYTE_LEVEL, texts) == expected(BYTE_LEVEL_DEFINITION, texts)


def test_a_whole_corpus_of_news() -> None:
    texts = bbc_news()
    assert len(texts) == 2225
    definitions = [minilm_tokenizer(), byte_level_tokenizer(texts)]
    encoders = [encoder_for(definition) for definition in definitions]
    assert [encoder.name for encoder in encoders] == ["wordpiece-cache", "gigatoken"]
    for definition, encoder in zip(definitions, encoders, strict=True):
        assert found(encoder, texts) == expected(definition, texts)


def test_texts_longer_than_a_segment_with_and_without_spaces() -> None:
    long = "the match, said monday's " * 100_000
    texts = [long, "x" + long.replace(" ", "\n"), "goal" * 300_000, long.replace(" ", "\x0b")]
    definition = bert_tokenizer()
    assert found(encoder_for(definition), texts) == expected(definition, texts)


@given(st.lists(st.lists(st.integers(0, 65535), max_size=5), max_size=8))
def test_a_boundary_follows_each_text(texts: list[list[int]]) -> None:
    lengths = np.array([len(ids) for ids in texts], np.int64)
    encoded = Encoded(np.array([number for ids in texts for number in ids], "<u2"), lengths)
    assert [ids.tolist() for ids in encoded.split()] == texts
    slots = encoded.with_boundaries(7)
    assert slots.dtype == np.dtype("<u2")
    assert slots.tolist() == [number for ids in texts for number in [*ids, 7]]


def changed(definition: bytes, **changes: Any) -> bytes:
    return json.dumps({**json.loads(definition), **changes}).encode()


def test_what_is_not_known_to_be_equal_is_left_to_the_library() -> None:
    plain = bert_tokenizer()
    others = [
        changed(plain, normalizer={"type": "Lowercase"}),
        changed(plain, normalizer=None),
        changed(plain, pre_tokenizer={"type": "Whitespace"}),
        bert_tokenizer(added=[AddedToken("new york")]),
        bert_tokenizer(added=[AddedToken("中", normalized=True)]),
    ]
    for definition in others:
        encoder = encoder_for(definition)
        assert encoder.name == "tokenizers"
        texts = ["The new york 中 中文 match's", "", "中", "a new\nyork"]
        assert found(encoder, texts) == expected(definition, texts)
    assert encoder_for(plain).name == "wordpiece-cache"


def test_a_bpe_that_gigatoken_cannot_serve_is_left_to_the_library() -> None:
    tokenizer = Tokenizer(models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")]))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    definition = tokenizer.to_str().encode()
    encoder = encoder_for(definition)
    assert encoder.name == "tokenizers"
    assert found(encoder, ["ab a b aab"]) == [[2, 0, 1, 0, 2]]


def test_numbers_stay_the_same_when_what_was_remembered_is_dropped() -> None:
    texts = bbc_news()[:60]
    encoder = GigatokenEncoder(BYTE_LEVEL_DEFINITION, np.dtype("<u2"), 2000, renewal=10_000)
    ids = [found(encoder, texts[start : start + 5]) for start in range(0, 60, 5)]
    assert [one for five in ids for one in five] == expected(BYTE_LEVEL_DEFINITION, texts)


def test_truncation_and_padding_of_a_definition_do_not_reach_the_numbers() -> None:
    definition = minilm_tokenizer()
    assert json.loads(definition)["truncation"]["max_length"] == 128
    assert encoder_for(definition).encode(["on " * 1000, "a"]).lengths.tolist() == [1000, 1]


def test_the_type_of_the_numbers_holds_the_vocabulary() -> None:
    assert [token_dtype(size).name for size in (1, 65536, 65537)] == ["uint16", "uint16", "uint32"]
    definition = bert_tokenizer(added=[AddedToken(f"<{number}>") for number in range(70_000)])
    encoder = encoder_for(definition)
    assert (encoder.dtype.name, encoder.name) == ("uint32", "wordpiece-cache")
    texts = ["the <69999> match<5>"]
    assert found(encoder, texts) == expected(definition, texts)
    assert max(found(encoder, texts)[0]) == encoder.vocabulary_size - 1


def test_what_cannot_be_read_or_repeated_is_refused() -> None:
    with pytest.raises(DataError, match=r"x\.json: is not a tokenizer definition"):
        encoder_for(b"{}", "x.json")
    content = json.loads(BYTE_LEVEL_DEFINITION)
    content["model"]["dropout"] = 0.1
    with pytest.raises(DataError, match=r"x\.json: model\.dropout makes its output random"):
        encoder_for(json.dumps(content).encode(), "x.json")
