"""What is decided of each document, held to what is decided with all of their texts in memory."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retort.core.errors import DataError
from retort.data.corpus.verdicts import (
    AMBIGUOUS,
    DUPLICATE,
    EMPTY,
    HELD_OUT,
    PART_OF_VERDICT,
    TRAIN,
    check_leakage,
    settle,
)
from retort.data.reading.chunks import Columns, columns_of, join
from retort.data.sources.documents import Document, Part
from retort.data.store.keys import KEY_BYTES
from tests.tiny.expected_part import part_of

DOCUMENTS = st.lists(
    st.builds(
        Document,
        text=st.text("ab \n", max_size=3),
        label=st.sampled_from(["sport", "tech"]),
        part=st.sampled_from([None, "train", "held_out"]),
    ),
    max_size=60,
)


@settings(deadline=None, max_examples=100)
@given(DOCUMENTS)
def test_the_same_documents_stay_as_in_memory(documents: list[Document]) -> None:
    copies: dict[str, list[Document]] = {}
    for document in documents:
        if document.text.strip():
            copies.setdefault(document.text, []).append(document)
    clear = [same for same in copies.values() if len({one.label for one in same}) == 1]
    stay = [next((one for one in same if one.part == "held_out"), same[0]) for same in clear]
    verdicts = settle(columns_of(documents), 0.3).verdicts
    kept = {
        (document.text, document.label, document.part): PART_OF_VERDICT[verdict]
        for document, verdict in zip(documents, verdicts.tolist(), strict=True)
        if verdict in PART_OF_VERDICT
    }
    expected = {
        (document.text, document.label, document.part): document.part
        or part_of(document.digest, 0.3)
        for document in stay
    }
    assert kept == expected
    with_text = sum(len(same) for same in copies.values())
    with_one_label = sum(len(same) for same in clear)
    counts = [int((verdicts == verdict).sum()) for verdict in (DUPLICATE, AMBIGUOUS, EMPTY)]
    assert counts == [
        with_one_label - len(stay),
        with_text - with_one_label,
        len(documents) - with_text,
    ]


def test_the_first_copy_stays_or_the_first_of_the_test_set() -> None:
    parts: list[Part | None] = ["train", "train", "held_out", "held_out", "train"]
    documents = [Document("same", "x", part) for part in parts]
    settled = settle(columns_of([*documents, Document("other", "x", "train")]), 0.5)
    assert settled.verdicts.tolist() == [
        DUPLICATE,
        DUPLICATE,
        HELD_OUT,
        DUPLICATE,
        DUPLICATE,
        TRAIN,
    ]
    assert settled.crossing == 1
    settled = settle(columns_of([documents[0], documents[1]]), 0.5)
    assert (settled.verdicts.tolist(), settled.crossing) == ([TRAIN, DUPLICATE], 0)


def test_the_parts_of_a_fold_are_those_of_each_digest() -> None:
    documents = [Document(f"text {number}", "x") for number in range(300)]
    columns = columns_of(documents)
    for held_out, fold in ((0.2, 0), (0.2, 4), (1 / 3, 1), (1 / 3, 2)):
        verdicts = settle(columns, held_out, fold).verdicts
        assert [PART_OF_VERDICT[verdict] for verdict in verdicts.tolist()] == [
            part_of(document.digest, held_out, fold) for document in documents
        ]


def test_nothing_and_nothing_but_empty_documents_are_settled() -> None:
    assert settle(columns_of([]), 0.5).verdicts.tolist() == []
    assert settle(columns_of([Document(" ", "x")]), 0.5).verdicts.tolist() == [EMPTY]


def test_a_text_in_both_parts_is_an_error() -> None:
    columns = columns_of([Document(text, "x") for text in ("one", "two", "one", "three")])
    check_leakage(columns, np.array([TRAIN, HELD_OUT, DUPLICATE, HELD_OUT], np.uint8))
    check_leakage(columns, np.array([TRAIN, HELD_OUT, TRAIN, HELD_OUT], np.uint8))
    with pytest.raises(DataError, match=r"document 3 .* in both parts of the split: 1 texts leak"):
        check_leakage(columns, np.array([TRAIN, HELD_OUT, HELD_OUT, TRAIN], np.uint8))


@settings(deadline=None)
@given(DOCUMENTS, st.integers(0, 60), st.integers(0, 60))
def test_columns_of_some_and_of_the_rest_are_those_of_all(
    documents: list[Document], one: int, other: int
) -> None:
    first, second = sorted((one, other))
    pieces = (documents[:first], documents[first:second], documents[second:])
    joined, whole = join([columns_of(piece) for piece in pieces]), columns_of(documents)
    assert named(joined) == named(whole)
    for column in ("keys", "parts", "characters", "bytes", "empty"):
        assert np.array_equal(getattr(joined, column), getattr(whole, column))
        assert getattr(joined, column).dtype == getattr(whole, column).dtype


def named(columns: Columns) -> list[str | None]:
    return [columns.names[number] for number in columns.labels]


def test_little_is_remembered_of_a_document() -> None:
    columns = columns_of([Document("caf\u00e9 \U0001f600" * number, "x") for number in range(100)])
    arrays = [getattr(columns, one) for one in ("keys", "labels", "parts", "characters", "bytes")]
    assert sum(array.nbytes for array in [*arrays, columns.empty]) == 100 * (KEY_BYTES + 14)
    assert columns.characters.tolist() == [6 * number for number in range(100)]
    assert columns.bytes.tolist() == [10 * number for number in range(100)]
    assert columns.empty.tolist() == [True, *[False] * 99]
    assert columns.keys[1].tobytes().hex() == Document("caf\u00e9 \U0001f600").digest[:48]
