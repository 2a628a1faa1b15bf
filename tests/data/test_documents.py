"""No duplicates, and a split that depends on each document alone."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retort.core.errors import DataError
from retort.data.documents import Document, Part, check_label, distinct, split

DOCUMENTS = st.lists(
    st.builds(
        Document,
        text=st.text("ab \n", max_size=4),
        label=st.sampled_from(["sport", "tech"]),
        part=st.sampled_from([None, "train", "held_out"]),
    ),
    max_size=40,
)
MANY = [Document(f"text {number}", "ab"[number % 2]) for number in range(2000)]


@settings(deadline=None)
@given(DOCUMENTS)
def test_distinct_documents_are_distinct_and_all_others_are_counted(
    documents: list[Document],
) -> None:
    result = distinct(documents)
    texts = [document.text for document in result.documents]
    assert len(texts) == len(set(texts))
    removed = result.duplicates + result.ambiguous + result.empty
    assert len(texts) + removed == len(documents)
    assert result.empty == sum(not document.text.strip() for document in documents)
    labels: dict[str, set[str | None]] = {}
    for document in documents:
        labels.setdefault(document.text, set()).add(document.label)
    expected = {text for text, found in labels.items() if text.strip() and len(found) == 1}
    assert set(texts) == expected


@settings(deadline=None)
@given(DOCUMENTS)
def test_distinct_documents_do_not_depend_on_the_order_of_the_source(
    documents: list[Document],
) -> None:
    def seen(given: list[Document]) -> list[tuple[str, str | None, bool]]:
        kept = distinct(given).documents
        return [(one.text, one.label, one.part == "held_out") for one in kept]

    assert seen(documents) == seen(documents[::-1])


def test_of_two_copies_the_one_in_the_test_set_stays() -> None:
    copies = [Document("same", "sport", "train"), Document("same", "sport", "held_out")]
    assert distinct(copies).documents == (copies[1],)


@settings(deadline=None)
@given(st.sets(st.integers(0, 1999), min_size=100), st.sets(st.integers(0, 1999), min_size=100))
def test_a_new_document_never_moves_another_across_the_split(
    first: set[int], more: set[int]
) -> None:
    before = split([MANY[number] for number in sorted(first)], 0.3)
    after = split([MANY[number] for number in sorted(first | more)], 0.3)
    for part in ("train", "held_out"):
        assert set(getattr(before, part)) <= set(getattr(after, part))


def test_the_share_held_out_is_about_the_one_asked_for() -> None:
    for share in (0.1, 0.2, 0.5):
        held_out = len(split(MANY, share).held_out)
        deviation = (2000 * share * (1 - share)) ** 0.5
        assert abs(held_out - 2000 * share) < 4 * deviation


def test_a_source_with_a_test_set_keeps_it() -> None:
    parts: list[Part] = ["train", "held_out"]
    documents = [
        Document(f"{part} {label} {number}", label, part)
        for part in parts
        for label in ("z", "a")
        for number in range(20)
    ]
    result = split(documents, 0.5)
    assert {document.text.split()[0] for document in result.train} == {"train"}
    assert {document.text.split()[0] for document in result.held_out} == {"held_out"}
    assert result.labels == ("a", "z")


def test_what_cannot_be_learned_from_is_refused() -> None:
    with pytest.raises(DataError, match=r"two labels or more are needed; there are \['a'\]"):
        split([Document(str(number), "a") for number in range(100)], 0.5)
    lonely = [*MANY[:100], Document("one", "lonely")]
    with pytest.raises(DataError, match="no document of label 'lonely' falls in the"):
        split(lonely, 0.5)


def test_documents_without_labels_cannot_be_split_for_a_classifier() -> None:
    with pytest.raises(DataError, match=r"without labels cannot be classified.*data\.files\.label"):
        split([Document(str(number)) for number in range(100)], 0.5)


def test_a_label_that_is_not_allowed_is_refused_with_the_nearest() -> None:
    check_label("sports", "here", ("sports", "tech"))
    with pytest.raises(
        DataError, match="here: has the label 'sport'; did you mean sports\\? allowed: sports, te"
    ):
        check_label("sport", "here", ("sports", "tech"))
    with pytest.raises(DataError, match="here: has the label None; allowed: sports"):
        check_label(None, "here", ("sports",))
