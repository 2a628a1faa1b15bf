"""Every encoder gives the numbers of the `tokenizers` library, also for the oddest of texts."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, trainers

from retort.core.errors import DataError
from retort.data.tokenizers.choose import Encoder, GigatokenEncoder, encoder_for
from retort.data.tokenizers.encoded import Encoded
from retort.data.tokenizers.library import LibraryEncoder, load_tokenizer, token_dtype
from retort.data.tokenizers.special_tokens import special_tokens
from retort.data.tokenizers.spellings import SpecialInText, Spellings
from retort.data.tokenizers.wordpiece import WordPieceEncoder
from tests.tiny.store import bbc_news, bert_tokenizer, byte_level_tokenizer, minilm_tokenizer

ADDED = (
    AddedToken("goalie", single_word=True, normalized=False),
    AddedToken("New-York", normalized=True),
    AddedToken("<x>", lstrip=True, rstrip=True, normalized=False),
)
FRAGMENTS = (
    *("the", "Match", "goals", "goalie", "xgoaliex", "New-York", "NEW-YORK", "new-yorks", "<x>"),
    *("[SEP]", "[MASK]", "[mask]", "[CLS][SEP]", "[MA\x00SK]", "x[SEP]y", "<|endoftext|>"),
    *("[S\x0cEP]", "[SEP\x0b]", "<\x0cx>", "goal\x0cie", "<|endof\x0btext|>", "\u0cdc", "\u0cdc's"),
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
POLICIES: tuple[SpecialInText, ...] = ("text", "special", "refuse")
BYTE_LEVEL = {
    policy: encoder_for(BYTE_LEVEL_DEFINITION, special_in_text=policy) for policy in POLICIES
}


def contractions_tokenizer() -> bytes:
    """Byte-level BPE that knows `'s`, so that it shows whether a contraction was found."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["the 's dog's the cat's 's there's"] * 50, trainer)
    return tokenizer.to_str().encode()


CONTRACTIONS_DEFINITION = contractions_tokenizer()
CONTRACTIONS = encoder_for(CONTRACTIONS_DEFINITION)


def expected(
    definition: bytes, texts: list[str], special_in_text: SpecialInText = "text"
) -> list[list[int]]:
    tokenizer = Tokenizer.from_str(definition.decode())
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = special_in_text != "special"
    encodings = tokenizer.encode_batch(texts, add_special_tokens=False)
    return [encoding.ids for encoding in encodings]


def found(encoder: Encoder, texts: list[str]) -> list[list[int]]:
    encoded = encoder.encode(texts)
    assert encoded.ids.dtype == encoder.dtype
    assert len(encoded.lengths) == len(texts)
    return [ids.tolist() for ids in encoded.split()]


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("definition", BERTS, ids=range(len(BERTS)))
@settings(deadline=None, max_examples=100)
@given(TEXTS)
def test_the_word_cache_gives_the_numbers_of_the_library(
    definition: bytes, policy: SpecialInText, texts: list[str]
) -> None:
    tokenizer = load_tokenizer(definition, special_in_text=policy)
    wanted = expected(definition, texts, policy)
    for cache_size in (1 << 10, 2):
        encoder = WordPieceEncoder(
            tokenizer, json.loads(definition), np.dtype("<u2"), 200, cache_size
        )
        assert found(encoder, texts) == wanted
        assert found(encoder, texts) == wanted, "and again from the cache"


@pytest.mark.parametrize("policy", POLICIES)
@settings(deadline=None, max_examples=100)
@given(TEXTS)
def test_byte_level_bpe_gives_the_numbers_of_the_library(
    policy: SpecialInText, texts: list[str]
) -> None:
    encoder = BYTE_LEVEL[policy]
    assert encoder.name == "gigatoken"
    assert found(encoder, texts) == expected(BYTE_LEVEL_DEFINITION, texts, policy)


@pytest.mark.parametrize("definition", [bert_tokenizer(), BYTE_LEVEL_DEFINITION])
def test_a_special_token_in_a_text_is_its_characters_unless_the_recipe_says(
    definition: bytes,
) -> None:
    tokenizer = load_tokenizer(definition)
    boundary = special_tokens(tokenizer).boundary
    assert boundary is not None
    text = "bye [SEP] [CLS] <|endoftext|> hi [S\x0cEP]"
    assert boundary not in found(encoder_for(definition), [text])[0]
    assert boundary not in found(encoder_for(definition, special_in_text="refuse"), [text])[0]
    special = found(encoder_for(definition, special_in_text="special"), [text])[0]
    assert special.count(boundary) == 1
    assert special == expected(definition, [text], "special")[0]


def test_a_letter_that_gigatoken_does_not_know_is_left_to_the_library() -> None:
    definition = contractions_tokenizer()
    encoder = encoder_for(definition)
    assert encoder.name == "gigatoken"
    new = ["\u0cdc", "\u088f", "\U0001095a", "\U00011db0", "\ua7ce", "\U000323b0"]
    texts = [f"{one}b{one}'s {one}'s 1{one}1" for one in new]
    assert found(encoder, texts) == expected(definition, texts)
    assert found(encoder, ["a's", *texts, "b's"]) == expected(definition, ["a's", *texts, "b's"])
    alone = GigatokenEncoder(
        definition,
        LibraryEncoder(load_tokenizer(definition)),
        Spellings(load_tokenizer(definition), json.loads(definition), "special"),
    )
    others = [
        one
        for one in new
        if alone._encode([f"{one}'s"]).ids.tolist() != expected(definition, [f"{one}'s"])[0]
    ]
    assert others, "gigatoken knows them by now: take newer ones, or drop what asks for them"


@settings(deadline=None, max_examples=80)
@given(st.lists(st.characters(exclude_categories=["Cs"], min_codepoint=0x80), max_size=30))
def test_any_character_divides_words_as_in_the_library(characters: list[str]) -> None:
    texts = [f"the {one}'s {one}the the{one} 1{one}1 {one} {one}\n" for one in characters]
    assert found(CONTRACTIONS, texts) == expected(CONTRACTIONS_DEFINITION, texts)


def test_a_whole_corpus_of_news() -> None:
    texts = bbc_news()
    assert len(texts) == 2225
    definitions = [minilm_tokenizer(), byte_level_tokenizer(texts)]
    encoders = [encoder_for(definition) for definition in definitions]
    assert [encoder.name for encoder in encoders] == ["wordpiece-cache", "gigatoken"]
    for definition, encoder in zip(definitions, encoders, strict=True):
        assert found(encoder, texts) == expected(definition, texts)


def test_long_texts_with_and_without_spaces() -> None:
    long = "the match, said monday's " * 12_000
    texts = [long, "x" + long.replace(" ", "\n"), "goal" * 40_000, long.replace(" ", "\x0b")]
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
    tokenizer = load_tokenizer(BYTE_LEVEL_DEFINITION)
    encoder = GigatokenEncoder(
        BYTE_LEVEL_DEFINITION,
        LibraryEncoder(tokenizer),
        Spellings(tokenizer, json.loads(BYTE_LEVEL_DEFINITION), "text"),
        renewal=10_000,
    )
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
