"""Corpora are made by their arguments alone, and their vocabulary grows as English does."""

import json
from pathlib import Path

import pytest

from benchmarks.data.corpus import HEAPS_BETA, HEAPS_K, Corpus, write_corpus


def texts(corpus: Corpus) -> list[str]:
    with corpus.file.open(encoding="utf-8") as lines:
        return [json.loads(line)["text"] for line in lines]


def test_what_is_said_of_a_corpus_is_what_is_in_it(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus.jsonl", 5 * 10**6)
    found = texts(corpus)
    words = [word for text in found for word in text.split()]
    assert corpus.documents == len(found) == len(set(found))
    assert corpus.text_bytes == sum(len(text.encode("utf-8")) for text in found)
    assert corpus.words == len(words)
    assert corpus.distinct_words == pytest.approx(len(set(words)), rel=0.001)
    assert corpus.file.stat().st_size == pytest.approx(5 * 10**6, rel=0.02)


@pytest.mark.parametrize("megabytes", [2, 12])
def test_distinct_words_follow_heaps_law(tmp_path: Path, megabytes: int) -> None:
    corpus = write_corpus(tmp_path / "corpus.jsonl", megabytes * 10**6)
    words = [word for text in texts(corpus) for word in text.split()]
    assert len(set(words)) == pytest.approx(HEAPS_K * len(words) ** HEAPS_BETA, rel=0.01)


def test_a_vocabulary_that_does_not_grow_ends_at_that_of_the_news(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus.jsonl", 20 * 10**6, grows=False)
    words = {word for text in texts(corpus) for word in text.split()}
    assert 60_000 < len(words) < 65_553


def test_a_seed_gives_the_same_bytes_and_another_gives_others(tmp_path: Path) -> None:
    files = [
        write_corpus(tmp_path / str(number), 300_000, seed=seed).file.read_bytes()
        for number, seed in enumerate((0, 0, 1))
    ]
    assert files[0] == files[1] != files[2]


def test_copies_come_as_often_as_asked(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus.jsonl", 10**6, copy_every=10)
    found = texts(corpus)
    assert len(found) - len(set(found)) == corpus.documents // 10
    assert found[9] == found[8]
