"""A corpus: what stays of it, in the order of the source, with its part; and what was found out."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from retort.core.errors import DataError
from retort.data.config import CorpusConfig, seal_settings
from retort.data.corpus.corpus import Corpus, survey
from retort.data.files.decoding import Place
from retort.data.sources.pieces import cut
from tests.tiny.expected_part import part_of
from tests.tiny.inputs import write_documents

WORDS = "the goalkeeper saved a late penalty and the visitors took all three points home again"


def near(number: int) -> str:
    """One of a family of texts that are nearly the same."""
    return f"{WORDS} {WORDS} {WORDS} {WORDS} {WORDS} {number}"


def write_jsonl(file: Path, rows: list[tuple[str, str]]) -> Path:
    lines = [json.dumps({"text": text, "label": label}) + "\n" for text, label in rows]
    file.write_text("".join(lines))
    return file


def config(file: Path, held_out: Path | None = None, **keys: Any) -> CorpusConfig:
    files: dict[str, Any] = {"paths": [str(file)], "label": "label"}
    if held_out is not None:
        files["held_out_paths"] = [str(held_out)]
    return CorpusConfig.model_validate({"source": "jsonl", "files": files, "held_out": 0.2, **keys})


def rows(count: int, first: int = 0) -> list[tuple[str, str]]:
    return [(f"text {number} {number * 7}", "ab"[number % 2]) for number in range(first, count)]


def seen(corpus: Corpus) -> dict[str, str | None]:
    return {one.text: one.part for one in corpus.documents()}


def test_copies_and_empty_documents_go_and_the_rest_is_split(tmp_path: Path) -> None:
    documents = write_documents(tmp_path / "documents", count=60)
    (documents / "tech" / "copy.txt").write_bytes((documents / "tech" / "000.txt").read_bytes())
    (documents / "tech" / "empty.txt").write_bytes(b" \n")
    corpus = survey(CorpusConfig(source="directory", directory=documents, held_out=0.2))
    found = list(corpus.documents())
    assert all(one.part == part_of(one.digest, 0.2) for one in found)
    assert corpus.labels == ("sport", "tech")
    assert len({one.text for one in found}) == len(found) == 120
    facts = corpus.validation
    assert (facts.documents, facts.duplicates, facts.empty) == (122, 1, 1)


def test_documents_keep_the_order_of_the_source(tmp_path: Path) -> None:
    given = rows(100)
    corpus = survey(config(write_jsonl(tmp_path / "x", [*given[:50], *given])))
    assert [one.text for one in corpus.documents()] == [text for text, _ in given]
    assert corpus.validation.duplicates == 50


def test_appended_documents_never_move_another(tmp_path: Path) -> None:
    before = survey(config(write_jsonl(tmp_path / "x", rows(200))))
    kept = seen(before)
    after = survey(config(write_jsonl(tmp_path / "x", rows(300))))
    assert kept.items() <= seen(after).items()
    assert before.digest != after.digest


def test_the_digest_follows_the_documents_and_not_their_place(tmp_path: Path) -> None:
    first = survey(config(write_jsonl(tmp_path / "x", rows(50))))
    second = survey(config(write_jsonl(tmp_path / "y", rows(50))))
    assert first.digest == second.digest
    assert first.validation.to_json() == second.validation.to_json()
    swapped = [(text, {"a": "b", "b": "a"}[label]) for text, label in rows(50)]
    assert survey(config(write_jsonl(tmp_path / "z", swapped))).digest != first.digest


def test_texts_in_both_parts_of_a_source_stay_in_its_test_set(tmp_path: Path) -> None:
    train = write_jsonl(tmp_path / "train", rows(40))
    test = write_jsonl(tmp_path / "test", rows(44, first=38))
    corpus = survey(config(train, test))
    facts = corpus.validation
    assert (facts.train, facts.held_out, facts.crossing, facts.duplicates) == (38, 6, 2, 2)
    assert any("2 texts are in both parts" in warning for warning in facts.warnings)
    parts = seen(corpus)
    assert [part for text, part in parts.items() if text.startswith(("text 38", "text 39"))] == [
        "held_out",
        "held_out",
    ]


@pytest.mark.parametrize("action", ["report", "error", "remove", "ignore"])
def test_near_duplicates_across_the_split_are_treated_as_the_recipe_says(
    tmp_path: Path, action: str
) -> None:
    train = write_jsonl(tmp_path / "train", [*rows(40), (near(1), "a"), (near(2), "a")])
    test = write_jsonl(tmp_path / "test", [*rows(60, first=50), (near(3), "a")])
    settings = config(train, test, near_duplicates={"action": action})
    if action == "error":
        with pytest.raises(DataError, match=r"2 documents to learn from are nearly the same.*'the"):
            survey(settings)
        return
    corpus = survey(settings)
    facts = corpus.validation
    removed = 2 if action == "remove" else 0
    assert (facts.train, facts.held_out, facts.near_removed) == (42 - removed, 11, removed)
    assert len(seen(corpus)) == 53 - removed
    assert near(3) in seen(corpus)
    if action == "ignore":
        assert facts.near_duplicates is None
        return
    assert facts.near_duplicates is not None
    assert (facts.near_duplicates.leaking, facts.near_duplicates.removed) == (2, removed)
    assert any("nearly the same" in one for one in facts.warnings) == (action == "report")


def test_a_source_that_has_changed_since_is_refused(tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "x", rows(50))
    for other in (rows(51), rows(49), [*rows(49), ("another", "b")]):
        corpus = survey(config(write_jsonl(file, rows(50))))
        write_jsonl(file, other)
        with pytest.raises(DataError, match="the source has changed since it was first read"):
            list(corpus.documents())


def test_what_is_not_utf8_is_named_by_its_row_in_a_file_of_many_pieces(tmp_path: Path) -> None:
    wrong = {1, 40_000, 120_000, 120_001, 199_999}
    lines = [
        b"%d %s %s" % (row, b"caf\xe9" if row in wrong else b"caf\xc3\xa9", b"x" * 90)
        for row in range(1, 200_001)
    ]
    (tmp_path / "file").write_bytes(b"\n".join(lines))
    paths = {"paths": [str(tmp_path / "file")]}
    settings = CorpusConfig.model_validate(
        {"source": "text", "files": paths, "near_duplicates": {"action": "ignore"}}
    )
    assert len(cut(settings)) == 3
    found = survey(settings).validation.encodings
    offsets = {row: sum(map(len, lines[: row - 1])) + row - 1 for row in wrong}
    expected = [
        Place("file", row, offsets[row] + lines[row - 1].index(b"\xe9")) for row in sorted(wrong)
    ]
    assert (found.not_utf8, list(found.places)) == (5, expected)


def test_a_corpus_without_labels_has_none(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("".join(f"line {number}\n" for number in range(100)))
    corpus = survey(
        CorpusConfig.model_validate(
            {"source": "text", "files": {"paths": [str(tmp_path / "x.txt")]}}
        )
    )
    assert (corpus.labels, corpus.validation.labels) == ((), ())
    assert {one.label for one in corpus.documents()} == {None}
    assert set(seen(corpus).values()) == {"train", "held_out"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([("x", "a"), (" ", "b")], "no document falls in the (train|held_out) part, of 2"),
        ([(str(number), "a") for number in range(50)], "two labels or more are needed"),
        ([*rows(50), ("one", "lonely")], "no document of label 'lonely' falls in the"),
        ([(" ", "a")], "no document falls in the train part, of 1"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(
    tmp_path: Path, given: list[tuple[str, str]], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        survey(config(write_jsonl(tmp_path / "x", given)))


def test_folds_hold_out_every_document_once_and_each_has_a_seal_of_its_own(
    tmp_path: Path,
) -> None:
    documents = write_documents(tmp_path / "documents")
    config = CorpusConfig(source="directory", directory=documents, held_out=0.2)
    folds = [config.model_copy(update={"fold": fold}) for fold in range(5)]
    held_out = [
        one.text for fold in folds for one in survey(fold).documents() if one.part == "held_out"
    ]
    everything = [one.text for one in survey(config).documents()]
    assert sorted(held_out) == sorted(everything)
    assert len({str(seal_settings(fold)) for fold in folds}) == 5


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"source": "bbc_news", "fold": 5}, r"data\.fold goes up to 4 with data\.held_out: 0\.2"),
        ({"source": "bbc_news", "held_out": 0.7, "fold": 1}, r"data\.fold goes up to 0"),
        ({"source": "imdb", "fold": 1}, "no test set of its own"),
        (
            {"source": "text", "files": {"paths": ["a"], "held_out_paths": ["b"]}, "fold": 1},
            "no test set of its own",
        ),
    ],
)
def test_a_fold_that_is_not_there_is_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        CorpusConfig.model_validate({"held_out": 0.2, **keys})
