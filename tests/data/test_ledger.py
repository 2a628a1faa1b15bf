"""What two passes decide of each document, held to what is decided with all of them in memory."""

import hashlib
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retort.core.errors import DataError
from retort.data.documents import Document, Part, distinct, part_of
from retort.data.ledger import (
    AMBIGUOUS,
    DUPLICATE,
    EMPTY,
    HELD_OUT,
    PARTS,
    TRAIN,
    Ledger,
    check_leakage,
    settle,
)

DOCUMENTS = st.lists(
    st.builds(
        Document,
        text=st.text("ab \n", max_size=3),
        label=st.sampled_from(["sport", "tech"]),
        part=st.sampled_from([None, "train", "held_out"]),
    ),
    max_size=60,
)


def noted(documents: Sequence[Document]) -> Ledger:
    ledger = Ledger()
    for document in documents:
        digest = hashlib.sha256(document.text.encode()).digest()
        ledger.add(document, digest, len(document.text.split()))
    return ledger


@settings(deadline=None, max_examples=300)
@given(DOCUMENTS)
def test_the_same_documents_stay_as_in_memory(documents: list[Document]) -> None:
    in_memory = distinct(documents)
    verdicts = settle(noted(documents), 0.3).verdicts
    kept = {
        (document.text, document.label, document.part): PARTS[verdict]
        for document, verdict in zip(documents, verdicts.tolist(), strict=True)
        if verdict in PARTS
    }
    expected = {
        (document.text, document.label, document.part): document.part
        or part_of(document.digest, 0.3)
        for document in in_memory.documents
    }
    assert kept == expected
    counts = [int((verdicts == verdict).sum()) for verdict in (DUPLICATE, AMBIGUOUS, EMPTY)]
    assert counts == [in_memory.duplicates, in_memory.ambiguous, in_memory.empty]


def test_the_first_copy_stays_or_the_first_of_the_test_set() -> None:
    parts: list[Part | None] = ["train", "train", "held_out", "held_out", "train"]
    documents = [Document("same", "x", part) for part in parts]
    settled = settle(noted([*documents, Document("other", "x", "train")]), 0.5)
    assert settled.verdicts.tolist() == [
        DUPLICATE,
        DUPLICATE,
        HELD_OUT,
        DUPLICATE,
        DUPLICATE,
        TRAIN,
    ]
    assert settled.crossing == 1
    settled = settle(noted([documents[0], documents[1]]), 0.5)
    assert (settled.verdicts.tolist(), settled.crossing) == ([TRAIN, DUPLICATE], 0)


def test_nothing_and_nothing_but_empty_documents_are_settled() -> None:
    assert settle(Ledger(), 0.5).verdicts.tolist() == []
    assert settle(noted([Document(" ", "x")]), 0.5).verdicts.tolist() == [EMPTY]


def test_a_text_in_both_parts_is_an_error() -> None:
    ledger = noted([Document(text, "x") for text in ("one", "two", "one", "three")])
    check_leakage(ledger, np.array([TRAIN, HELD_OUT, DUPLICATE, HELD_OUT], np.uint8))
    check_leakage(ledger, np.array([TRAIN, HELD_OUT, TRAIN, HELD_OUT], np.uint8))
    with pytest.raises(DataError, match=r"document 3 .* in both parts of the split: 1 texts leak"):
        check_leakage(ledger, np.array([TRAIN, HELD_OUT, HELD_OUT, TRAIN], np.uint8))


def test_a_document_takes_29_bytes() -> None:
    ledger = noted([Document(str(number), "x") for number in range(1000)])
    columns = ledger._columns.values()
    assert sum(column.itemsize for column in columns) + len(ledger.key(0)) == 29
    assert len(ledger) == 1000
