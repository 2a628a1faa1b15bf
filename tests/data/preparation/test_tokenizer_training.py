"""A trained tokenizer is decided by its documents alone, and served by the fast encoders."""

import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from retort.core.config import for_seal, load_recipe
from retort.core.errors import ConfigError, DataError
from retort.data.preparation.recipe import (
    END_OF_TEXT,
    PreparationRecipe,
    TokenizerTraining,
    recipes,
)
from retort.data.preparation.tokenizer_training import (
    BERT_TOKENS,
    learned_characters,
    train_tokenizer,
)
from retort.data.reading.chunks import columns_of
from retort.data.sources.documents import Document
from retort.data.store.keys import KEY_BYTES
from retort.data.tokenizers.choose import Encoder, encoder_for
from retort.data.tokenizers.library import load_tokenizer
from tests.tiny.store import bbc_news

Kind = Literal["bpe", "wordpiece"]
KINDS: tuple[Kind, ...] = ("bpe", "wordpiece")
NAMES = {"bpe": "gigatoken", "wordpiece": "wordpiece-cache"}
ODD_TEXTS = st.lists(
    st.lists(
        st.one_of(
            st.sampled_from((*BERT_TOKENS, END_OF_TEXT, "the", " The", "n't", "'LL", "12,345.6")),
            st.sampled_from(
                ("e\u0301", "\u0130", "\ufb01", "中文", "\u200d", "\xa0", "\x85", "\x1c")
            ),
            st.sampled_from((" ", "\n", "\r\n", "\t", "\x00", "a" * 101, "#", "##", "\U0001f680")),
            st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
        ),
        max_size=12,
    ).map("".join),
    max_size=4,
)


@cache
def news(model: Kind) -> bytes:
    return train_tokenizer(TokenizerTraining(model=model, vocabulary=8192), bbc_news())


@cache
def encoder(model: Kind) -> Encoder:
    return encoder_for(news(model))


@cache
def library(model: Kind) -> Tokenizer:
    return load_tokenizer(news(model))


def ids(model: Kind, texts: list[str]) -> list[list[int]]:
    encodings = library(model).encode_batch(texts, add_special_tokens=False)
    return [encoding.ids for encoding in encodings]


@pytest.mark.parametrize("model", KINDS)
def test_all_of_the_news_is_encoded_fast_and_as_the_library_does(model: Kind) -> None:
    texts = bbc_news()
    assert encoder(model).name == NAMES[model]
    assert encoder(model).vocabulary_size == 8192
    found = [array.tolist() for array in encoder(model).encode(texts).split()]
    assert len(found) == 2225
    assert found == ids(model, texts)
    assert sum(map(len, texts)) / sum(map(len, found)) > 4, "characters a token"


@pytest.mark.parametrize("model", KINDS)
@settings(deadline=None, max_examples=80)
@given(texts=ODD_TEXTS)
def test_odd_texts_are_encoded_as_the_library_does(model: Kind, texts: list[str]) -> None:
    assert [array.tolist() for array in encoder(model).encode(texts).split()] == ids(model, texts)


@settings(deadline=None, max_examples=80)
@given(ODD_TEXTS)
def test_byte_level_tokens_give_the_text_back(texts: list[str]) -> None:
    plain = [text.replace(END_OF_TEXT, "") for text in texts]
    assert [library("bpe").decode(numbers) for numbers in ids("bpe", plain)] == plain


def test_special_tokens_stand_where_models_look_for_them() -> None:
    gpt = Tokenizer.from_str(news("bpe").decode())
    assert gpt.token_to_id(END_OF_TEXT) == 0
    assert gpt.encode("news").ids == ids("bpe", ["news"])[0]
    bert = Tokenizer.from_str(news("wordpiece").decode())
    assert [bert.token_to_id(token) for token in BERT_TOKENS] == [0, 1, 2, 3, 4]
    pair = bert.encode("News,", "NEWS \U0001f469")
    assert pair.tokens == ["[CLS]", "news", ",", "[SEP]", "news", "[UNK]", "[SEP]"]
    assert pair.type_ids == [0, 0, 0, 0, 1, 1, 1]
    assert bert.decode(bert.encode("a goalkeeper's save").ids) == "a goalkeeper ' s save"


PROGRAM = """
import hashlib, os, random, sys
from retort.data.preparation.recipe import TokenizerTraining
from retort.data.preparation.tokenizer_training import train_tokenizer
from tests.tiny.store import bbc_news
texts = bbc_news()
random.Random(int(sys.argv[1])).shuffle(texts)
for model, vocabulary in (("bpe", 30_000), ("wordpiece", 20_000)):
    config = TokenizerTraining(model=model, vocabulary=vocabulary)
    print(hashlib.sha256(train_tokenizer(config, texts)).hexdigest())
print(len(os.listdir("/proc/self/task")))
"""


def test_bytes_are_the_same_in_any_process_with_any_threads_and_any_order() -> None:
    found = set()
    threads = set()
    for seed, count in enumerate(("1", "2", "7")):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(seed)],
            capture_output=True,
            check=True,
            text=True,
            env={
                **os.environ,
                "PYTHONPATH": ":".join(sys.path),
                "PYTHONHASHSEED": str(seed),
                "RAYON_NUM_THREADS": count,
                "TOKENIZERS_PARALLELISM": "true",
            },
        )
        *digests, tasks = done.stdout.split()
        found.add(tuple(digests))
        threads.add(int(tasks))
    assert len(found) == 1
    assert len(threads) > 1, "the number of threads was not taken up"
    changed = train_tokenizer(TokenizerTraining(model="bpe", vocabulary=30_000), bbc_news()[1:])
    assert hashlib.sha256(changed).hexdigest() not in next(iter(found))


def merged(words: dict[tuple[str, ...], int], first: list[str], size: int, least: int) -> list[str]:
    """Byte-pair encoding as it is defined, without a queue: the tokens by their numbers."""
    tokens = list(first)
    numbers = {token: number for number, token in enumerate(tokens)}
    while len(tokens) < size:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, count in words.items():
            for pair in pairwise(word):
                pairs[pair] += count
        best = min(pairs, key=lambda p: (-pairs[p], numbers[p[0]], numbers[p[1]]), default=None)
        if best is None or pairs[best] < least:
            break
        token = best[0] + best[1].removeprefix("##")
        assert token not in numbers, "no token comes from two pairs"
        numbers[token] = len(tokens)
        tokens.append(token)
        after: Counter[tuple[str, ...]] = Counter()
        for word, count in words.items():
            parts: list[str] = []
            for part in word:
                # A pair that was just merged is not the left half of another.
                if parts and (parts[-1], part) == best:
                    parts[-1] = token
                else:
                    parts.append(part)
            after[tuple(parts)] += count
        words = dict(after)
    return tokens


LETTERS = st.lists(
    st.text(st.sampled_from("abé"), min_size=1, max_size=14), min_size=1, max_size=30
)


@settings(deadline=None, max_examples=60)
@given(LETTERS, st.integers(1, 3))
def test_bpe_is_what_the_definition_says(words: list[str], least: int) -> None:
    text = "".join(f" {word}" for word in words)
    alphabet = "".join(chr(number) for number in sorted(set(_byte_alphabet())))
    marked = Counter(
        tuple("Ġ" + word.encode().decode("latin-1")) for word in words  # é is two bytes, \xc3\xa9
    )
    expected = merged(dict(marked), [END_OF_TEXT, *alphabet], 1 << 20, least)
    config = TokenizerTraining(model="bpe", vocabulary=len(expected), min_frequency=least)
    found = json.loads(train_tokenizer(config, [text]))["model"]
    assert list(found["vocab"]) == expected
    assert list(found["vocab"].values()) == list(range(len(expected)))
    assert len(found["merges"]) == len(expected) - 257


def _byte_alphabet() -> list[int]:
    """Bytes as GPT-2 writes them: those that print stand for themselves."""
    printing = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return [*printing, *range(0x100, 0x100 + 256 - len(printing))]


@settings(deadline=None, max_examples=60)
@given(LETTERS, st.integers(1, 3))
def test_wordpiece_is_what_the_definition_says(words: list[str], least: int) -> None:
    counts = Counter(letter for word in words for letter in word)
    known = sorted(letter for letter, count in counts.items() if count >= least)
    kept = Counter(word for word in words if set(word) <= set(known))
    within = sorted({letter for word in kept for letter in word[1:]})
    first = [*BERT_TOKENS, *known, *(f"##{letter}" for letter in within)]
    split = {(w[0], *(f"##{letter}" for letter in w[1:])): count for w, count in kept.items()}
    expected = merged(split, first, 1 << 20, least)
    config = TokenizerTraining(
        model="wordpiece", vocabulary=len(expected), min_frequency=least, lowercase=False
    )
    # Accents stay, because the words are not made small.
    found = json.loads(train_tokenizer(config, [" ".join(words)]))["model"]
    assert list(found["vocab"]) == expected
    assert list(found["vocab"].values()) == list(range(len(expected)))


def test_what_is_learned_from_does_not_depend_on_the_order_of_documents() -> None:
    chance = np.random.default_rng(1)
    high, low = chance.integers(0, 5, 200).astype(np.uint64), np.arange(200, dtype=np.uint64)
    characters = chance.integers(1, 100, 200).astype(np.uint32)
    learned = chance.random(200) < 0.7
    keys = np.zeros((200, KEY_BYTES), np.uint8)
    keys[:, :8] = high.astype(">u8").view(np.uint8).reshape(-1, 8)
    keys[:, 8:16] = low.astype(">u8").view(np.uint8).reshape(-1, 8)
    columns = replace(
        columns_of([Document(str(number)) for number in range(200)]),
        keys=keys,
        characters=characters,
    )
    taken = learned_characters(columns, learned, 2000)
    assert taken.sum() == 2000
    assert not taken[~learned].any()
    whole = taken == characters
    assert ((taken > 0) & ~whole).sum() <= 1, "one document is cut"
    last = max((high[number], low[number]) for number in np.flatnonzero(taken))
    assert all(
        taken[number] > 0 or (high[number], low[number]) > last
        for number in np.flatnonzero(learned)
    )
    order = chance.permutation(200)
    other = replace(columns, keys=keys[order], characters=characters[order])
    shuffled = learned_characters(other, learned[order], 2000)
    assert np.array_equal(shuffled, taken[order])
    assert learned_characters(columns, learned, 10**9).sum() == characters[learned].sum()


def test_a_corpus_that_cannot_fill_the_vocabulary_says_what_it_gives() -> None:
    fits: dict[Kind, int] = {"bpe": 257 + 5 + 2, "wordpiece": 5 + 6 + 5 + 4 + 2}
    for model, reached in fits.items():
        config = TokenizerTraining(model=model, vocabulary=300)
        message = (
            rf"vocabulary 300 is too large: the documents give {reached} tokens at "
            rf"tokenizer\.train\.min_frequency 2; make it {reached} or less"
        )
        with pytest.raises(DataError, match=message):
            train_tokenizer(config, ["the match the match"])
        fitting = config.model_copy(update={"vocabulary": reached})
        assert (
            encoder_for(train_tokenizer(fitting, ["the match the match"])).vocabulary_size
            == reached
        )


@pytest.mark.parametrize("model", KINDS)
@pytest.mark.parametrize("texts", [[], ["", ""]])
def test_nothing_to_learn_from_is_refused(model: Kind, texts: list[str]) -> None:
    with pytest.raises(DataError, match="no words to train a tokenizer on"):
        train_tokenizer(TokenizerTraining(model=model), texts)


def test_an_alphabet_that_does_not_fit_is_refused() -> None:
    texts = [" ".join(chr(number) * 2 for number in range(0x4E00, 0x4E00 + 100))]
    with pytest.raises(DataError, match=r"vocabulary 100 is too small: .* 100 characters, .* 105 "):
        train_tokenizer(TokenizerTraining(model="wordpiece", vocabulary=100), texts)


def test_rare_characters_are_unknown_and_their_words_teach_nothing() -> None:
    config = TokenizerTraining(model="wordpiece", vocabulary=11, min_frequency=2)
    found = json.loads(train_tokenizer(config, ["ab ab ab \u0436ab", "x" * 101 + " xx"]))["model"]
    assert list(found["vocab"])[5:] == ["a", "b", "x", "##b", "##x", "ab"]


def resolved(*overrides: str) -> PreparationRecipe:
    source = recipes() / "bbc_bpe.yaml"
    return load_recipe(PreparationRecipe, source, overrides, Path()).config


def test_a_recipe_says_how_to_train() -> None:
    train = resolved().tokenizer.train
    assert train == TokenizerTraining(model="bpe", vocabulary=8192)
    assert train is not None
    assert for_seal(train) == {
        "model": "bpe",
        "vocabulary": 8192,
        "min_frequency": 2,
        "lowercase": None,
        "characters": 100_000_000,
    }
    bert = resolved("tokenizer.train.model=wordpiece").tokenizer.train
    assert bert is not None
    assert bert.lowercase is True
    cased = resolved(
        "tokenizer.train.model=wordpiece", "tokenizer.train.lowercase=false"
    ).tokenizer.train
    assert cased is not None
    assert cased.lowercase is False


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("tokenizer.package=x", "give one of .* and tokenizer.train"),
        ("tokenizer.train.vocabulary=256", "vocabulary 256 is too small: byte-level BPE has 257"),
        ("tokenizer.train.lowercase=true", "lowercase goes with model: wordpiece"),
        ("tokenizer.train.model=unigram", "cannot be 'unigram'.*bpe.*wordpiece"),
        ("tokenizer.train.characters=0", "tokenizer.train.characters cannot be 0"),
    ],
)
def test_a_recipe_that_is_wrong_is_refused(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolved(override)
