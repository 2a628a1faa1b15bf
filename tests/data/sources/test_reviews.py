"""Movie-review snippets as their pinned source archive gives them, and as a token store."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from retort.core.errors import DataError
from retort.core.seal import verify
from retort.data.config import CorpusConfig, SourceConfig
from retort.data.corpus.corpus import survey
from retort.data.files.addresses import find_files
from retort.data.files.decoding import Decoder
from retort.data.sources.documents import Document
from retort.data.sources.read import stream_documents
from retort.data.sources.reviews import read_reviews, reviews_files
from retort.data.store.store import KIND, TokenStore


@pytest.fixture(scope="module")
def loaded() -> list[Document]:
    return list(stream_documents(SourceConfig(source="reviews")))


def test_reviews_are_what_is_known_of_them(loaded: list[Document]) -> None:
    labels = Counter(one.label for one in loaded)
    assert labels == {"positive": 5242, "negative": 5326}
    facts = survey(CorpusConfig(source="reviews")).validation
    assert (facts.documents, facts.train + facts.held_out) == (10_568, 10_566)
    assert (facts.duplicates, facts.ambiguous, facts.empty, facts.encodings.not_utf8) == (
        2,
        0,
        0,
        0,
    )


def test_the_first_snippets_have_the_sign_of_their_ratings(loaded: list[Document]) -> None:
    first = loaded[:4]
    assert [one.label for one in first] == ["positive", "positive", "negative", "positive"]
    assert first[2].text == "Effective but too tepid biopic"
    assert first[0].text.startswith("The Rock is destined to be the 21st Century's new ''Conan''")


def test_snippets_rated_zero_are_left_out(loaded: list[Document]) -> None:
    (file,) = reviews_files()
    with file.open() as stream:
        ratings = [float(line.split(b"\t")[1]) for line in stream]
    assert (len(ratings), ratings.count(0.0)) == (10_605, 37)
    assert len(loaded) == 10_605 - 37
    assert "Red Dragon makes one appreciate Silence of the Lambs." not in {
        one.text for one in loaded
    }


def test_text_is_unicode_with_the_escape_of_html_undone(loaded: list[Document]) -> None:
    texts = {one.text for one in loaded}
    assert "Makes S&M seem very romantic, and Maggie Gyllenhaal is a delight." in texts
    assert "Touch\u00e9!" in texts
    assert not any("&amp;" in text or text != text.strip() for text in texts)


@pytest.mark.parametrize(
    "line", ["2\t1.5", "2\tgood\ttext", "2\t4.1\ttext", "2\tnan\ttext", "2\t1\ta\tb", ""]
)
def test_a_line_of_another_form_is_refused_by_row(tmp_path: Path, line: str) -> None:
    path = tmp_path / "snippets.txt"
    path.write_bytes(f"1\t-4\tbad\r\n{line}\r\n".encode())
    (file,) = find_files([str(path)], {})
    found = read_reviews(file, Decoder("refuse"))
    assert next(found).label == "negative"
    with pytest.raises(DataError, match=r"snippets\.txt: row 2 is not a number, a rating"):
        next(found)


def test_a_missing_package_is_named_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    roots = [root for root in sys.path if not Path(root, "hutto_icwsm_2014").is_dir()]
    assert len(roots) < len(sys.path)
    monkeypatch.setattr(sys, "path", roots)
    with pytest.raises(DataError, match=r"needs the package hutto_icwsm_2014.*source_archive\.py"):
        list(stream_documents(SourceConfig(source="reviews")))


def test_the_recipe_makes_a_token_store_of_them(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "retort.data.prepare", "--config", "reviews"]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "reviews"), "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["documents"] == 10_566
    assert verify(tmp_path / "reviews", kind=KIND).seal == result["seal"]
    store = TokenStore.open(tmp_path / "reviews")
    held_out = len(store.parts["held_out"])
    assert held_out + len(store.parts["train"]) == 10_566
    assert 0.04 < held_out / 10_566 < 0.06
