"""Counts of words are exact, whatever the order of the texts and however little is held."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retort.data.preparation.word_counts import count_words

PLENTY = 1 << 30
TEXTS = st.lists(st.text(st.sampled_from("abé中 \n\t"), max_size=40), max_size=12)


@settings(deadline=None)
@given(TEXTS, st.integers(1, 9), st.randoms(use_true_random=False))
def test_counts_are_exact_however_little_is_held(
    texts: list[str], held: int, chance: Random
) -> None:
    expected = Counter(word for text in texts for word in text.split())
    found = count_words(texts, str.split, PLENTY, held)
    assert found == expected
    assert list(found) == sorted(expected)
    chance.shuffle(texts)
    assert list(count_words(texts, str.split, PLENTY, held).items()) == list(found.items())


def test_counts_that_went_to_files_part_by_part_are_added_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("retort.data.preparation.word_counts._CHUNKS", 50)
    texts = [f"common word{number % 700} only{number}" for number in range(3000)]
    found = count_words(texts, str.split, PLENTY, held=60)
    assert found == Counter(word for text in texts for word in text.split())
    assert found["common"] == 3000


def test_beyond_the_bound_the_rarest_words_are_left_out() -> None:
    texts = ["aaaa aaaa aaaa bbb bbb cc cc d", "d d e f"]
    assert count_words(texts, str.split, symbols=10) == {"aaaa": 3, "bbb": 2, "cc": 2, "d": 3}
    assert count_words(texts, str.split, symbols=8) == {"aaaa": 3, "cc": 2, "d": 3}
    assert count_words(texts[::-1], str.split, symbols=5) == {"aaaa": 3, "d": 3}
    assert count_words(texts, str.split, symbols=7, held=1) == {"aaaa": 3, "cc": 2, "d": 3}


def test_a_run_without_white_space_is_cut() -> None:
    text = "x" * 1_000_000 + " " * 1_000_000 + "y"
    words = count_words([text], str.split, PLENTY)
    assert max(map(len, words)) == 1000
    assert sum(len(word) * count for word, count in words.items()) == 1_000_001


PROGRAM = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
from retort.core.errors import StorageError
from retort.data.preparation.word_counts import count_words
try:
    count_words((f"word{number}" for number in range(10_000)), str.split, 1 << 30, held=5_000)
except StorageError as error:
    print(error)
"""


def test_a_full_temporary_directory_is_named(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        check=True,
        text=True,
        env={**os.environ, "PYTHONPATH": ":".join(sys.path), "TMPDIR": str(tmp_path)},
    )
    assert done.stdout == (
        f"{tmp_path}: cannot hold the words of the documents while they are counted: "
        "File too large; make room there, or set TMPDIR\n"
    )
