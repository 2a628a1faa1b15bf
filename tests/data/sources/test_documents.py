"""A part that depends on each document alone, and labels that can be learned."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retort.core.errors import DataError
from retort.data.config import folds_of
from retort.data.sources.documents import Document, check_label, labels_of
from tests.tiny.expected_part import part_of

MANY = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(2000)]


def test_a_documents_digest_is_that_of_its_text() -> None:
    expected = hashlib.sha256("caf\u00e9\r\n".encode()).hexdigest()
    assert Document("caf\u00e9\r\n", "a", "train").digest == expected


def test_the_share_held_out_is_about_the_one_asked_for() -> None:
    for share in (0.05, 0.2, 0.5):
        held_out = sum(part_of(digest, share) == "held_out" for digest in MANY)
        deviation = (2000 * share * (1 - share)) ** 0.5
        assert abs(held_out - 2000 * share) < 4 * deviation


def test_a_larger_share_holds_out_all_that_a_smaller_one_does() -> None:
    small, large = (
        {digest for digest in MANY if part_of(digest, share) == "held_out"} for share in (0.1, 0.3)
    )
    assert small < large


@settings(deadline=None)
@given(st.integers(2, 200))
def test_every_document_is_held_out_in_exactly_one_fold(folds: int) -> None:
    assert folds_of(1 / folds) == folds
    for digest in [*MANY[:100], "0" * 64, "f" * 64]:
        parts = [part_of(digest, 1 / folds, fold) for fold in range(folds)]
        assert parts.count("held_out") == 1


def test_the_first_fold_is_the_split_without_one() -> None:
    for digest in MANY:
        share = int(digest[:16], 16) / 2**64
        assert part_of(digest, 0.3) == part_of(digest, 0.3, 0)
        assert (part_of(digest, 0.3) == "held_out") == (share < 0.3)


def test_folds_that_do_not_fill_the_whole_leave_the_rest_to_learn_from() -> None:
    assert folds_of(0.3) == 3
    never = [d for d in MANY if all(part_of(d, 0.3, fold) == "train" for fold in range(3))]
    assert abs(len(never) - 200) < 4 * (2000 * 0.1 * 0.9) ** 0.5


def test_labels_are_sorted() -> None:
    assert labels_of({"train": {"z", "a"}, "held_out": {"a", "z"}}) == ("a", "z")


def test_what_cannot_be_learned_from_is_refused() -> None:
    with pytest.raises(DataError, match=r"two labels or more are needed; there are \['a'\]"):
        labels_of({"train": {"a"}, "held_out": {"a"}})
    with pytest.raises(DataError, match="no document of label 'lonely' falls in the held_out part"):
        labels_of({"train": {"a", "lonely"}, "held_out": {"a"}})
    with pytest.raises(DataError, match=r"without labels cannot be classified.*data\.files\.label"):
        labels_of({"train": {"a", None}, "held_out": {"a"}})


def test_a_label_that_is_not_allowed_is_refused_with_the_nearest() -> None:
    check_label("sports", "here", ("sports", "tech"))
    with pytest.raises(
        DataError, match="here: has the label 'sport'; did you mean sports\\? allowed: sports, te"
    ):
        check_label("sport", "here", ("sports", "tech"))
    with pytest.raises(DataError, match="here: has the label None; allowed: sports"):
        check_label(None, "here", ("sports",))
